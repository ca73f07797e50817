/**
 * A loopback server with two models that speak the Responses API: the main one makes one call a turn after its time, the faster one
 * makes the same call sooner, or another. What they say depends on the request alone (how many results it carries), so no run disturbs
 * another. It runs in the process of its client, so both read one clock.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { sleep } from "./measure.ts"
import { functionCall, responseBody, sender } from "./server.ts"

/** `guessed`: what the faster model calls in each step. All times are multiplied by `pace`. */
export interface Script {
  readonly called: ReadonlyArray<number>
  readonly guessed: ReadonlyArray<number>
  readonly mainMillis: number
  readonly fastMillis: number
  readonly pace: number
}

/** A running server. `sealedAt`: by step, when the main model's end mark was written, on `performance.now`'s clock. */
export interface Server {
  readonly mainURL: string
  readonly fastURL: string
  script: Script
  sealedAt: Array<number>
  readonly close: () => void
}

const bodyOf = async (
  request: IncomingMessage
): Promise<{ readonly input: ReadonlyArray<{ readonly type?: string }> }> => {
  const pieces: Array<Buffer> = []
  for await (const piece of request) pieces.push(piece as Buffer)
  return JSON.parse(Buffer.concat(pieces).toString("utf8")) as never
}

const lookCall = (step: number, status: string, text: string) => functionCall(step, status, text, "look")

// The call is sealed at the end of the model's time, and its answer ends with it. True: it was written.
const answer = async (out: ServerResponse, step: number, page: number, millis: number): Promise<boolean> => {
  const send = sender(out)
  out.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" })
  send({ type: "response.created", response: responseBody("in_progress", []) })
  await sleep(millis)
  if (out.destroyed) return false
  const text = JSON.stringify({ page })
  const place = { item_id: `fc_${step}`, output_index: 0 }
  const item = lookCall(step, "completed", text)
  send({ type: "response.output_item.added", output_index: 0, item: lookCall(step, "in_progress", "") })
  send({ type: "response.function_call_arguments.delta", ...place, delta: text })
  send({ type: "response.function_call_arguments.done", ...place, name: "look", arguments: text })
  send({ type: "response.output_item.done", output_index: 0, item })
  send({ type: "response.completed", response: responseBody("completed", [item]) })
  out.end()
  return true
}

/** Starts the server on a free port of the loopback interface. */
export const serve = async (script: Script): Promise<Server> => {
  const reply = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { input } = await bodyOf(request)
    const step = input.filter(({ type }) => type === "function_call_output").length
    const { called, fastMillis, guessed, mainMillis, pace } = server.script
    if (request.url?.startsWith("/fast/")) {
      await answer(response, step, guessed[step]!, fastMillis * pace)
      return
    }
    if (await answer(response, step, called[step]!, mainMillis * pace)) server.sealedAt[step] = performance.now()
  }
  const http = createServer((request, response) => void reply(request, response))
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve))
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const server: Server = {
    mainURL: `${url}/main/v1`,
    fastURL: `${url}/fast/v1`,
    script,
    sealedAt: [],
    close: () => {
      http.close()
      http.closeAllConnections()
    }
  }
  return server
}
