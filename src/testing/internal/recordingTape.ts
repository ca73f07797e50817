/**
 * A `fetch` that notes what passes through it: requests in the order they begin, answers with the pieces and times of
 * their bodies. What it hands on is what it got. Times are those of the real clock: the network keeps no other.
 */
import type { Failure } from "./recordingFile.ts"
import { apiOf } from "./recordingFile.ts"

/** A request and how far its answer has come. Bytes as they were; secrets are in it. */
export interface Taken {
  readonly url: string
  readonly method: string
  readonly headers: Headers
  readonly body: string
  readonly at: number
  /** Whether our side has left, which the network may tell later. */
  readonly isLeft: () => boolean
  answer: Answer | undefined
  /** `open` until the body has ended, the connection has broken, or our side has left. */
  ending: "open" | "complete" | "broken" | "cancelled"
  failure: ReadonlyArray<Failure>
  endedAt: number
}

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly at: number
  readonly pieces: Array<{ readonly at: number; readonly bytes: Uint8Array }>
}

/** What was noted. Requests that are none to a model pass unseen: what fetches a token must not be kept. */
export interface Tape {
  readonly fetch: typeof fetch
  readonly taken: ReadonlyArray<Taken>
}

export const make = (base: typeof fetch, now: () => number): Tape => {
  const taken: Array<Taken> = []
  const record: typeof fetch = (input, init) => {
    const url = input instanceof Request ? input.url : String(input)
    if (apiOf(url) === undefined || typeof init?.body !== "string") return base(input, init)
    const isLeft = () => init.signal?.aborted === true
    const entry: Taken = {
      url,
      method: init.method ?? "GET",
      headers: new Headers(init.headers),
      body: init.body,
      at: now(),
      isLeft,
      answer: undefined,
      ending: "open",
      failure: [],
      endedAt: 0
    }
    taken.push(entry)
    return base(input, init).then((response) => noted(response, entry, now), (error: unknown) => {
      end(entry, entry.isLeft() ? "cancelled" : "broken", now(), error)
      return Promise.reject(error)
    })
  }
  return { fetch: record, taken }
}

const end = (entry: Taken, ending: Taken["ending"], at: number, error?: unknown): void => {
  if (entry.ending !== "open") return
  entry.ending = ending
  entry.endedAt = at
  if (ending === "broken") entry.failure = chainOf(error)
}

/** An error and its causes, at most four. */
const chainOf = (error: unknown): ReadonlyArray<Failure> => {
  const chain: Array<Failure> = []
  for (let at = error; at instanceof Error && chain.length < 4; at = at.cause) {
    const code = "code" in at && typeof at.code === "string" ? { code: at.code } : undefined
    chain.push({ name: at.name, message: at.message, ...code })
  }
  return chain
}

/** That chain as errors again. */
export const errorOf = (chain: ReadonlyArray<Failure>): Error =>
  chain.reduceRight<Error | undefined>((cause, { code, message, name }) => {
    const error = new Error(message, cause === undefined ? undefined : { cause })
    error.name = name
    return code === undefined ? error : Object.assign(error, { code })
  }, undefined) ?? new Error("the recorded connection broke")

const noted = (response: Response, entry: Taken, now: () => number): Response => {
  const pieces: Answer["pieces"] = []
  entry.answer = { status: response.status, headers: response.headers, at: now(), pieces }
  if (response.body === null) {
    end(entry, "complete", now())
    return response
  }
  const reader = response.body.getReader()
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) =>
      reader.read().then((piece) => {
        if (piece.done) {
          end(entry, "complete", now())
          return controller.close()
        }
        pieces.push({ at: now(), bytes: piece.value })
        return controller.enqueue(piece.value)
      }, (error: unknown) => {
        end(entry, entry.isLeft() ? "cancelled" : "broken", now(), error)
        controller.error(error)
      }),
    cancel: (reason) => {
      end(entry, "cancelled", now())
      return reader.cancel(reason)
    }
  }, { highWaterMark: 0 })
  const { headers, status, statusText } = response
  return new Response(body, { status, statusText, headers })
}
