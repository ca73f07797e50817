/**
 * A provider on loopback: a real HTTP server that answers each request as the case in hand says. One server serves a whole set;
 * every case has its own path, so requests cannot be mixed up.
 */
import { createServer } from "node:http"
import type { IncomingHttpHeaders } from "node:http"
import type { AddressInfo } from "node:net"

/** A request as the provider saw it. */
export interface Seen {
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: Record<string, unknown>
}

/**
 * What the provider sends back. `hangUp` destroys the socket after the last chunk, `reset` before anything is sent; `stall`:
 * nothing comes after the last chunk, and with no chunks no headers either; `everyMillis`: a wait before each chunk.
 */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly chunks: ReadonlyArray<Uint8Array>
  readonly hangUp?: boolean
  readonly reset?: boolean
  readonly stall?: boolean
  readonly everyMillis?: number
}

export type Provider = (seen: Seen, turn: number) => Answer

/** A running server. `mount` gives the base URL of one case. */
export interface Server {
  readonly mount: (
    provider: Provider
  ) => { readonly baseURL: string; readonly seen: ReadonlyArray<Seen>; readonly unmount: () => void }
  readonly close: () => Promise<void>
}

export const start = async (): Promise<Server> => {
  const mounted = new Map<string, { readonly provider: Provider; readonly seen: Array<Seen> }>()
  const server = createServer((request, response) => {
    const pieces: Array<Buffer> = []
    request.on("data", (piece: Buffer) => pieces.push(piece))
    request.on("end", () => {
      const [, number = ""] = /^\/(\d+)\//.exec(request.url ?? "") ?? []
      const mount = mounted.get(number)
      if (mount === undefined) return void response.writeHead(404).end("{}")
      const text = Buffer.concat(pieces).toString("utf8")
      const seen = {
        url: request.url ?? "",
        headers: request.headers,
        body: text === "" ? {} : JSON.parse(text) as Record<string, unknown>
      }
      mount.seen.push(seen)
      const answer = mount.provider(seen, mount.seen.length - 1)
      if (answer.reset === true) return void request.socket.destroy()
      if (answer.stall === true && answer.chunks.length === 0) return
      response.writeHead(answer.status, { ...answer.headers })
      const write = (at: number): void => {
        if (response.destroyed) return
        const chunk = answer.chunks[at]
        const next = () =>
          answer.everyMillis === undefined ? write(at + 1) : setTimeout(write, answer.everyMillis, at + 1)
        if (chunk !== undefined) return void response.write(chunk, next)
        if (answer.stall === true) return
        if (answer.hangUp === true) response.socket?.destroy()
        else response.end()
      }
      // Headers go out at once, so that a hang-up is a broken body and not a broken request.
      response.flushHeaders()
      write(0)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  let next = 0
  return {
    mount: (provider) => {
      const number = String(++next)
      const seen: Array<Seen> = []
      mounted.set(number, { provider, seen })
      return { baseURL: `http://127.0.0.1:${port}/${number}/v1`, seen, unmount: () => mounted.delete(number) }
    },
    close: () => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    }
  }
}

const encoder = new TextEncoder()

export const utf8 = (text: string): Uint8Array => encoder.encode(text)

export const json = (value: unknown, status = 200): Answer => ({
  status,
  headers: { "content-type": "application/json" },
  chunks: [utf8(JSON.stringify(value))]
})

export const events = (chunks: ReadonlyArray<Uint8Array>, hangUp = false): Answer => ({
  status: 200,
  headers: { "content-type": "text/event-stream" },
  chunks,
  hangUp
})

/** A streamed turn that says "done" and asks for nothing. */
export const done = (api: "chat" | "responses"): Answer =>
  events([utf8(
    api === "chat"
      ? chatEvent({ delta: { content: "done" } }) + chatEvent({ delta: {}, finish_reason: "stop" }) + "data: [DONE]\n\n"
      : responsesEvent({
        type: "response.output_text.delta",
        output_index: 0,
        content_index: 0,
        item_id: "msg_1",
        delta: "done"
      }) +
        responsesEvent({ type: "response.completed", response: { id: "resp_2", status: "completed", output: [] } })
  )])

export const chatEvent = (choice: object, rest: object = {}): string =>
  `data: ${
    JSON.stringify({
      id: "chatcmpl-1",
      object: "chat.completion.chunk",
      created: 1700000000,
      model: "m",
      choices: [{ index: 0, ...choice }],
      ...rest
    })
  }\n\n`

export const responsesEvent = (event: { readonly type: string; readonly [key: string]: unknown }): string =>
  `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`

/** A call as a model would ask for it. */
export interface ScriptedCall {
  readonly id: string
  readonly name: string
  readonly arguments: string
}

/** One streamed decision on the wire: every call opened, its arguments in fragments of at most `size` characters, the end mark. */
export const decision = (
  api: "chat" | "responses",
  calls: ReadonlyArray<ScriptedCall>,
  size = 24
): ReadonlyArray<Uint8Array> => {
  const lines: Array<string> = []
  calls.forEach((call, index) => {
    const fragments = call.arguments.match(new RegExp(`[^]{1,${size}}`, "g")) ?? []
    if (api === "chat") {
      const entry = (entry: object) => chatEvent({ delta: { tool_calls: [{ index, ...entry }] }, finish_reason: null })
      lines.push(entry({ id: call.id, type: "function", function: { name: call.name, arguments: "" } }))
      for (const fragment of fragments) lines.push(entry({ function: { arguments: fragment } }))
      return
    }
    const place = { output_index: index, item_id: `fc_${index}` }
    const item = { type: "function_call", id: `fc_${index}`, call_id: call.id, name: call.name }
    lines.push(
      responsesEvent({
        type: "response.output_item.added",
        output_index: index,
        item: { ...item, arguments: "", status: "in_progress" }
      })
    )
    for (const delta of fragments) {
      lines.push(responsesEvent({ type: "response.function_call_arguments.delta", ...place, delta }))
    }
    lines.push(responsesEvent({ type: "response.function_call_arguments.done", ...place, arguments: call.arguments }))
    lines.push(
      responsesEvent({
        type: "response.output_item.done",
        output_index: index,
        item: { ...item, arguments: call.arguments, status: "completed" }
      })
    )
  })
  lines.push(
    api === "chat"
      ? chatEvent({ delta: {}, finish_reason: "tool_calls" }) + "data: [DONE]\n\n"
      : responsesEvent({ type: "response.completed", response: { id: "resp_1", status: "completed", output: [] } })
  )
  return lines.map(utf8)
}

/** What is wrong with a request that carries a decision and its results back, by the vendor's rules; nothing when all is well. */
export const faultsOfHistory = (api: "chat" | "responses", body: Record<string, unknown>): ReadonlyArray<string> => {
  const faults: Array<string> = []
  const name = (value: unknown) => {
    if (typeof value !== "string" || !/^[a-zA-Z0-9_-]{1,64}$/.test(value)) {
      faults.push(`name ${JSON.stringify(value)} does not fit the wire`)
    }
  }
  const open = new Set<unknown>()
  const asked = (id: unknown, maxLength: number) => {
    if (typeof id !== "string" || id.length === 0 || id.length > maxLength) {
      faults.push(`id ${JSON.stringify(id)} does not fit the wire`)
    }
    if (open.has(id)) faults.push(`id ${JSON.stringify(id)} is asked twice`)
    open.add(id)
  }
  const answered = (id: unknown) => {
    if (!open.delete(id)) faults.push(`id ${JSON.stringify(id)} is answered but not asked`)
  }
  type Fields = Record<string, unknown>
  if (api === "chat") {
    for (const message of body["messages"] as ReadonlyArray<Fields>) {
      if (message["role"] === "tool") answered(message["tool_call_id"])
      else if (open.size > 0) faults.push(`a ${String(message["role"])} message before ${open.size} answer(s)`)
      const calls = (message["tool_calls"] ?? []) as ReadonlyArray<Fields>
      if (calls.length > 128) faults.push(`${calls.length} calls in one message`)
      for (const call of calls) {
        name((call["function"] as Fields)["name"])
        asked(call["id"], 40)
      }
    }
  } else {
    for (const item of body["input"] as ReadonlyArray<Fields>) {
      if (item["type"] === "function_call") {
        name(item["name"])
        asked(item["call_id"], 64)
      } else if (item["type"] === "function_call_output") answered(item["call_id"])
    }
  }
  if (open.size > 0) faults.push(`${open.size} call(s) without an answer`)
  return faults
}
