/**
 * The set `wire`: traffic recorded against the real OpenAI API and servers that speak it, with the calls that a separate decoder
 * found in each body; and every recorded HTTP error, whoever sent it.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { endsOf, hear, overHttp, pure, throughEngine } from "./exchange.ts"
import type { Exchange, WantedCall } from "./exchange.ts"
import { Tally } from "./report.ts"
import type { SetReport } from "./report.ts"
import { start, utf8 } from "./server.ts"
import type { Server } from "./server.ts"

interface Recorded {
  readonly request: { readonly url: string; readonly bodyJson?: { readonly stream?: boolean } }
  readonly response: {
    readonly status: number
    readonly headers: Readonly<Record<string, string>>
    readonly stream?: boolean
    readonly body?: string
    readonly bodyJson?: unknown
  }
  readonly expect?: { readonly format?: string; readonly toolCalls?: ReadonlyArray<WantedCall> } | null
}

interface Named {
  readonly id: string
  readonly recorded: Recorded
}

const load = (folder: string): ReadonlyArray<Named> =>
  readdirSync(folder).filter((file) => file.endsWith(".json") && file !== "index.json").sort().flatMap((file) => {
    const { interactions } = JSON.parse(readFileSync(join(folder, file), "utf8")) as {
      readonly interactions: ReadonlyArray<Recorded>
    }
    return interactions.map((recorded, index) => ({ id: `${file}#${index}`, recorded }))
  })

const bodyOf = (recorded: Recorded): string => recorded.response.body ?? JSON.stringify(recorded.response.bodyJson)

const isOurs = (recorded: Recorded): boolean =>
  recorded.response.status < 400 &&
  (recorded.expect?.format === "openai-chat" || recorded.expect?.format === "openai-responses")

const exchangeOf = ({ id, recorded }: Named): Exchange => ({
  id,
  api: recorded.expect?.format === "openai-chat" ? "chat" : "responses",
  stream: recorded.response.stream === true,
  body: bodyOf(recorded),
  headers: recorded.response.headers,
  calls: (recorded.expect?.toolCalls ?? []).filter((call) => !isCustom(bodyOf(recorded), call)),
  ...endsOf(recorded.expect?.format === "openai-chat" ? "chat" : "responses", bodyOf(recorded))
})

// Custom tools take free text and cannot be declared through effect/ai, so their calls are not ours to run.
const isCustom = (body: string, call: WantedCall): boolean =>
  [...body.matchAll(/\{[^{}]*"custom_tool_call"[^{}]*\}/g)].some(([item]) => item.includes(`"${call.id}"`))

/** Every recorded stream that speaks one of our wires, and how many there are of each other format. */
export const streamed = (
  folder: string
): { readonly ours: ReadonlyArray<Exchange>; readonly others: Readonly<Record<string, number>> } => {
  const all = load(folder).filter(({ recorded: { response } }) => response.stream === true && response.status < 400)
  const others: Record<string, number> = {}
  for (const { recorded } of all) {
    const format = recorded.expect?.format ?? "unknown"
    if (!isOurs(recorded)) others[format] = (others[format] ?? 0) + 1
  }
  return { ours: all.filter(({ recorded }) => isOurs(recorded)).map(exchangeOf), others }
}

/** Replays every exchange of the set's folder. */
export const replay = async (folder: string): Promise<SetReport> => {
  const tally = new Tally("wire")
  const server = await start()
  try {
    for (const named of load(folder)) {
      if (isOurs(named.recorded)) {
        const exchange = exchangeOf(named)
        await tally.case(named.id, async () => [
          ...pure(exchange),
          ...await overHttp(server, exchange),
          ...await throughEngine(server, exchange)
        ])
      } else if (named.recorded.response.status >= 400) {
        await tally.case(named.id, () => error(server, named.recorded))
      }
    }
  } finally {
    await server.close()
  }
  return tally.report()
}

// ---- errors ----

// What a status means, said a second time and without the adapter's words.
const reasonOf = (status: number, body: string): string => {
  const words = [...body.matchAll(/"(?:code|type)":\s*"([^"]*)"/g)].map((match) => match[1]!).join(" ")
  if (status === 402 || /insufficient_quota|billing|quota_exceeded|credit/.test(words)) return "QuotaExhaustedError"
  if (/content_policy|content_filter|moderation_blocked/.test(words)) return "ContentPolicyError"
  if (status === 401 || status === 403 || /invalid_api_key|authentication_error/.test(words)) {
    return "AuthenticationError"
  }
  if (status === 429) return "RateLimitError"
  return status >= 500 || status === 408 || status === 409 || status === 425
    ? "InternalProviderError"
    : "InvalidRequestError"
}

const error = async (server: Server, recorded: Recorded): Promise<ReadonlyArray<string>> => {
  const { headers, status } = recorded.response
  const body = bodyOf(recorded)
  const { "transfer-encoding": _, ...kept } = headers
  const mount = server.mount(() => ({ status, headers: kept, chunks: [utf8(body)] }))
  const faults: Array<string> = []
  for (const stream of [true, false]) {
    for (const api of ["chat", "responses"] as const) {
      const heard = await hear(mount.baseURL, api, stream)
      const found = heard.error?.reason
      if (found === undefined) {
        faults.push(`${api}, stream ${stream}: no typed error (${heard.defect ?? "it succeeded"})`)
      } else if (found._tag !== reasonOf(status, body)) {
        faults.push(`${status} became ${found._tag}, wanted ${reasonOf(status, body)}`)
      } else if (!("http" in found) || found.http?.response?.status !== status) {
        faults.push(`${found._tag} does not say the status ${status}`)
      }
      if (heard.parts.length > 0) faults.push(`${heard.parts.length} part(s) before the error`)
    }
  }
  mount.unmount()
  return faults
}
