/**
 * Three searches, and the first perfect answer wins: the others are cancelled at once.
 *
 * One decision asks three search servers of different speed. The completion policy keeps the best answer by its relevance and
 * waits no longer than for a perfect one: the quick answer that is good but not perfect is held back and dropped, and the slow
 * request is aborted, which its server sees. The model is told the truth about both. The servers are this program's own.
 *
 * Run: npx node examples/04-cancel-a-branch.ts
 * Needs no key and no network: the model is scripted.
 * In a program of your own write "effect-toolformer" for "../src/index.ts".
 *
 * Expected output:
 *   asked search_index, search_wiki, search_archive
 *   search_index: search_index was cancelled: superseded by call_1 in group "searches". It had finished; its result was not kept.
 *   search_wiki: Effect 4, chapter 2 (relevance 1)
 *   search_archive: search_archive was cancelled: superseded by call_1 in group "searches". It had started, so part of its work may be done.
 *   best(keep 1, enough 1): decided, winner call_1
 *   the archive's server saw its request aborted: true
 */
import { Effect, Schema, Stream } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Branch, Executor, Orchestrator, ToolFailure, ToolPolicy } from "../src/index.ts"
import { scripted } from "./shared/scripted.ts"

// ---- the servers: each answers after its time, and knows whether its caller has gone

interface SearchServer {
  readonly url: string
  readonly aborted: Promise<void>
}

const searchServer = (millis: number, title: string, relevance: number) =>
  Effect.acquireRelease(
    Effect.callback<SearchServer & { readonly close: () => void }>((resume) => {
      const { promise: aborted, resolve } = Promise.withResolvers<void>()
      const server = createServer((_, response) => {
        const timer = setTimeout(() => {
          response.writeHead(200, { "content-type": "application/json" })
          response.end(JSON.stringify({ title, relevance }))
        }, millis)
        response.on("close", () => {
          clearTimeout(timer)
          if (!response.writableEnded) resolve()
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
        resume(Effect.succeed({ url, aborted, close: () => server.close() }))
      })
    }),
    (server) => Effect.sync(server.close)
  )

// ---- the tools: one group, so that they can be completed together

const Found = Schema.Struct({ title: Schema.String, relevance: Schema.Finite })

const search = (description: string, { url }: SearchServer) =>
  ToolPolicy.tool({
    description,
    parameters: Schema.Struct({ query: Schema.String }),
    success: Found,
    annotations: { readonly: true, group: "searches", timeout: "10 seconds" },
    handler: ({ query }) =>
      Executor.promise(async (signal) => {
        const response = await fetch(`${url}/?q=${encodeURIComponent(query)}`, { signal })
        return await response.json() as unknown
      }).pipe(
        Effect.flatMap(Schema.decodeUnknownEffect(Found)),
        Effect.orDie
      )
  })

const query = { query: "cancelling fibers" }
const model = scripted(
  [
    { name: "search_index", params: query },
    { name: "search_wiki", params: query },
    { name: "search_archive", params: query }
  ],
  "Effect 4, chapter 2 has it."
)

// ---- the run

const program = Effect.scoped(Effect.gen(function*() {
  const archive = yield* searchServer(5000, "A letter of 1987", 0.2)
  const { toolkit, layer } = ToolPolicy.define({
    search_index: search("Searches the index: quick.", yield* searchServer(50, "Some blog", 0.6)),
    search_wiki: search("Searches the wiki: good.", yield* searchServer(250, "Effect 4, chapter 2", 1)),
    search_archive: search("Searches the archive: slow.", archive)
  })
  const parts = Orchestrator.stream({
    prompt: "What is known about cancelling fibers?",
    toolkit,
    completion: { searches: Branch.best<typeof Found.Type>({ score: "relevance", enough: 1 }) }
  })
  const asked: Array<string> = []
  yield* parts.pipe(
    Stream.runForEach((part) =>
      Effect.sync(() => {
        if (part.type === "tool-call" && asked.push(part.name) === 3) console.log(`asked ${asked.join(", ")}`)
        if (part.type === "tool-result") {
          const { name, result } = part
          console.log(
            `${name}: ${ToolFailure.is(result) ? result.message : `${result.title} (relevance ${result.relevance})`}`
          )
        }
        if (part.type === "run-finish") {
          for (const { outcome, policy, winners } of part.report.groups) {
            console.log(`${policy}: ${outcome}, winner ${winners.join()}`)
          }
        }
      })
    ),
    Effect.provide([layer, model])
  )
  yield* Effect.promise(() => archive.aborted)
  console.log("the archive's server saw its request aborted: true")
}))

await Effect.runPromise(program)
