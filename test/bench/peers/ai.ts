/**
 * The `ai` side: `streamText` over its own mock model, or over `@ai-sdk/openai` for scenarios on the wire. The
 * packages live in this folder and are missing until the bench installs them, so only the few names used here are
 * typed, by hand.
 */

/** A tool's work: what its call asked for, and the signal that `ai` gives it. */
export type Work = (index: number, signal: AbortSignal) => Promise<number>

interface Ai {
  readonly streamText: (options: object) => { readonly fullStream: AsyncIterable<{ readonly type: string }> }
  readonly tool: (definition: object) => object
}
interface AiTest {
  readonly MockLanguageModelV4: new(options: object) => object
}
interface Zod {
  readonly z: { readonly number: () => object; readonly object: (shape: object) => object }
}
interface OpenAi {
  readonly createOpenAI: (options: object) => { readonly responses: (model: string) => object }
}

// The specifier is a variable so that type checking does not need the package.
const load = <A>(specifier: string): Promise<A> => import(specifier)

const usage = {
  inputTokens: { total: 0, noCache: 0, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 0, text: 0, reasoning: 0 }
}

const decision = (calls: number): ReadonlyArray<object> => [
  { type: "stream-start", warnings: [] },
  ...Array.from({ length: calls }, (_, index) => ({
    type: "tool-call",
    toolCallId: `call_${index}`,
    toolName: "work",
    input: `{"index":${index}}`
  })),
  { type: "finish", usage, finishReason: { unified: "tool-calls", raw: "tool_calls" } }
]

const streamOf = (parts: ReadonlyArray<object>) =>
  new ReadableStream({
    start: (controller) => {
      for (const part of parts) controller.enqueue(part)
      controller.close()
    }
  })

/** A model in process that answers with one decision of `calls` calls. */
export const scripted = async (calls: number): Promise<object> => {
  const { MockLanguageModelV4 } = await load<AiTest>("ai/test")
  const parts = decision(calls)
  return new MockLanguageModelV4({ doStream: () => Promise.resolve({ stream: streamOf(parts) }) })
}

/** The vendor's provider, pointed at a server of ours. */
export const openAi = async (baseURL: string): Promise<object> =>
  (await load<OpenAi>("@ai-sdk/openai")).createOpenAI({ baseURL, apiKey: "none" }).responses("gpt-5.4")

/** Options of one decision. `timeoutMillis` is per call. */
export interface Options {
  readonly model: object
  readonly work: Work
  readonly concurrency: number
  readonly timeoutMillis?: number
}

/** One decision, ready to run; the run returns how many tool results came out, or stops early when `signal` fires. */
export const decide = async (options: Options): Promise<(signal?: AbortSignal) => Promise<number>> => {
  const { streamText, tool } = await load<Ai>("ai")
  const { z } = await load<Zod>("zod")
  const work = tool({
    description: "Does the scenario's work.",
    inputSchema: z.object({ index: z.number() }),
    execute: (input: { readonly index: number }, context: { readonly abortSignal: AbortSignal }) =>
      options.work(input.index, context.abortSignal)
  })
  return async (abortSignal) => {
    let results = 0
    const { fullStream } = streamText({
      model: options.model,
      prompt: "work",
      tools: { work },
      toolCallConcurrency: options.concurrency,
      ...(options.timeoutMillis === undefined ? {} : { timeout: { toolMs: options.timeoutMillis } }),
      ...(abortSignal === undefined ? {} : { abortSignal })
    })
    for await (const part of fullStream) if (part.type === "tool-result") results++
    return results
  }
}
