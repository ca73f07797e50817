/**
 * A loopback server that speaks the Responses API: it streams one decision of N function calls at a steady pace, goes
 * on with text, and remembers when it wrote what. It runs in the process of its client, so both read one clock.
 */
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { sleep } from "./measure.ts"

/** What to stream. `textMillis`: how long the model goes on with text after its last call. */
export interface Script {
  readonly calls: number
  readonly paceMillis: number
  readonly textMillis: number
}

/** When things were written, on `performance.now`'s clock. */
export interface Timeline {
  readonly openedAt: number
  /** By call: when its `response.output_item.done` was written. */
  readonly sealedAt: ReadonlyArray<number>
  readonly finishedAt: number
}

/** A running server. `timeline` settles when the stream of the latest request has ended. */
export interface Server {
  readonly baseURL: string
  script: Script
  readonly timeline: () => Promise<Timeline>
  readonly close: () => void
}

export type Send = (event: { readonly type: string; readonly [key: string]: unknown }) => void

/** Writes the events of one answer, numbered. */
export const sender = (response: ServerResponse): Send => {
  let sequence = 0
  return (event) => {
    response.write(`event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number: sequence++ })}\n\n`)
  }
}

export const responseBody = (status: string, output: ReadonlyArray<unknown>) => ({
  id: "resp_bench",
  object: "response",
  created_at: 1_780_000_000,
  status,
  error: null,
  incomplete_details: null,
  model: "gpt-5.4",
  output,
  parallel_tool_calls: true,
  tool_choice: "auto",
  tools: [],
  usage: status === "completed"
    ? {
      input_tokens: 10,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: 10,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 20
    }
    : null
})

export const functionCall = (index: number, status: string, text: string, name = "work") => ({
  type: "function_call",
  id: `fc_${index}`,
  call_id: `call_${index}`,
  name,
  arguments: text,
  status
})

const until = (at: number): Promise<void> => sleep(Math.max(0, at - performance.now()))

// Three tokens a call, evenly spaced: it opens, its arguments go on, it is sealed at `sealAt`.
const writeCall = async (send: Send, index: number, sealAt: number, paceMillis: number): Promise<unknown> => {
  const text = `{"index":${index}}`
  const position = { item_id: `fc_${index}`, output_index: index }
  await until(sealAt - (paceMillis * 2) / 3)
  send({ type: "response.output_item.added", output_index: index, item: functionCall(index, "in_progress", "") })
  send({ type: "response.function_call_arguments.delta", ...position, delta: text.slice(0, 5) })
  await until(sealAt - paceMillis / 3)
  send({ type: "response.function_call_arguments.delta", ...position, delta: text.slice(5) })
  await until(sealAt)
  send({ type: "response.function_call_arguments.done", ...position, name: "work", arguments: text })
  const item = functionCall(index, "completed", text)
  send({ type: "response.output_item.done", output_index: index, item })
  return item
}

const writeText = async (send: Send, index: number, script: Script): Promise<unknown> => {
  const position = { item_id: "msg_bench", output_index: index, content_index: 0 }
  const item = { type: "message", id: "msg_bench", role: "assistant", status: "in_progress", content: [] }
  const part = { type: "output_text", text: "", annotations: [], logprobs: [] }
  send({ type: "response.output_item.added", output_index: index, item })
  send({ type: "response.content_part.added", ...position, part })
  const started = performance.now()
  let text = ""
  for (let at = started; at < started + script.textMillis; at += script.paceMillis) {
    await until(at + script.paceMillis)
    text += "on "
    send({ type: "response.output_text.delta", ...position, delta: "on ", logprobs: [] })
  }
  const done = { ...item, status: "completed", content: [{ ...part, text }] }
  send({ type: "response.output_text.done", ...position, text, logprobs: [] })
  send({ type: "response.content_part.done", ...position, part: { ...part, text } })
  send({ type: "response.output_item.done", output_index: index, item: done })
  return done
}

const stream = async (response: ServerResponse, script: Script): Promise<Timeline> => {
  const send = sender(response)
  const sealedAt: Array<number> = []
  const output: Array<unknown> = []
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" })
  const openedAt = performance.now()
  send({ type: "response.created", response: responseBody("in_progress", []) })
  for (let index = 0; index < script.calls; index++) {
    output.push(await writeCall(send, index, openedAt + (index + 1) * script.paceMillis, script.paceMillis))
    sealedAt.push(performance.now())
  }
  output.push(await writeText(send, script.calls, script))
  const finishedAt = performance.now()
  send({ type: "response.completed", response: responseBody("completed", output) })
  response.end()
  return { openedAt, sealedAt, finishedAt }
}

/** Starts the server on a free port of the loopback interface. */
export const serve = async (script: Script): Promise<Server> => {
  let latest: Promise<Timeline> = Promise.reject(new Error("no request has come yet"))
  latest.catch(() => {})
  const http = createServer((request, response) => {
    request.resume().on("end", () => {
      latest = stream(response, server.script)
    })
  })
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve))
  const server: Server = {
    baseURL: `http://127.0.0.1:${(http.address() as AddressInfo).port}/v1`,
    script,
    timeline: () => latest,
    close: () => {
      http.close()
      http.closeAllConnections()
    }
  }
  return server
}
