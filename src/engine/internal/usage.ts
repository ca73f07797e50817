/** Token usage summed over turns; a number nobody reported stays unknown. */
import * as Response from "effect/ai/Response"

const plus = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : a + b

export const empty = new Response.Usage({ inputTokens: {}, outputTokens: {} })

export const sum = (a: Response.Usage, b: Response.Usage): Response.Usage =>
  new Response.Usage({
    inputTokens: {
      uncached: plus(a.inputTokens.uncached, b.inputTokens.uncached),
      total: plus(a.inputTokens.total, b.inputTokens.total),
      cacheRead: plus(a.inputTokens.cacheRead, b.inputTokens.cacheRead),
      cacheWrite: plus(a.inputTokens.cacheWrite, b.inputTokens.cacheWrite)
    },
    outputTokens: {
      total: plus(a.outputTokens.total, b.outputTokens.total),
      text: plus(a.outputTokens.text, b.outputTokens.text),
      reasoning: plus(a.outputTokens.reasoning, b.outputTokens.reasoning)
    }
  })
