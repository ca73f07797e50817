/** The Redis protocol, versions 2 and 3, as far as tests need it: a plain connection, and the frames a proxy counts. */
import { connect } from "node:net"
import type { Socket } from "node:net"

/** An error as the server said it, such as `WRONGTYPE Operation against a key ...`. */
export class ReplyError extends Error {}

/** What a server answers. Maps of version 3 are flat lists, as in version 2. */
export type Reply = string | number | null | ReplyError | ReadonlyArray<Reply>

/** One frame and where the next begins. */
interface Frame {
  readonly value: Reply
  readonly end: number
  readonly type: string
}

const scalar = (type: string, line: string): Reply =>
  type === "-"
    ? new ReplyError(line)
    : type === ":" || type === ","
    ? Number(line)
    : type === "#"
    ? Number(line === "t")
    : type === "_"
    ? null
    : line

/** The frame that begins at a byte, or nothing when it is not all there. */
export const parse = (bytes: Buffer, at = 0): Frame | undefined => {
  const newline = bytes.indexOf("\r\n", at)
  if (newline < 0) return undefined
  const type = String.fromCharCode(bytes[at]!)
  const line = bytes.toString("utf8", at + 1, newline)
  const start = newline + 2
  const size = Number(line)
  if ("$=!".includes(type)) {
    if (size < 0) return { value: null, end: start, type }
    const end = start + size + 2
    if (bytes.length < end) return undefined
    const text = bytes.toString("utf8", start, start + size)
    return { value: type === "!" ? new ReplyError(text) : text, end, type }
  }
  if (!"*%~>".includes(type)) return { value: scalar(type, line), end: start, type }
  if (size < 0) return { value: null, end: start, type }
  const values: Array<Reply> = []
  let end = start
  for (let left = type === "%" ? size * 2 : size; left > 0; left--) {
    const inner = parse(bytes, end)
    if (inner === undefined) return undefined
    values.push(inner.value)
    end = inner.end
  }
  return { value: values, end, type }
}

export const encode = (command: ReadonlyArray<string>): string =>
  `*${command.length}\r\n${command.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`

/** Cuts a stream of bytes into whole frames; what is left waits for more. */
export const frames = (): (chunk: Buffer) => ReadonlyArray<{ readonly frame: Frame; readonly bytes: Buffer }> => {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const found: Array<{ readonly frame: Frame; readonly bytes: Buffer }> = []
    let at = 0
    for (let frame = parse(rest, at); frame !== undefined; frame = parse(rest, at)) {
      found.push({ frame, bytes: rest.subarray(at, frame.end) })
      at = frame.end
    }
    rest = rest.subarray(at)
    return found
  }
}

/** A connection that owes nothing to the client under test. */
export interface Plain {
  readonly send: (...command: ReadonlyArray<string>) => Promise<Reply>
  readonly isOpen: () => boolean
  readonly close: () => void
}

export const plain = (port: number): Promise<Plain> =>
  new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: "127.0.0.1", port, noDelay: true })
    const waiting: Array<{ resolve: (reply: Reply) => void; reject: (error: Error) => void }> = []
    const next = frames()
    const lost = (error: Error): void => {
      reject(error)
      for (const each of waiting.splice(0)) each.reject(error)
    }
    socket.on("data", (chunk) => {
      for (const { frame } of next(chunk)) {
        const { value } = frame
        const each = waiting.shift()
        if (value instanceof ReplyError) each?.reject(value)
        else each?.resolve(value)
      }
    })
    socket.on("error", lost)
    socket.on("close", () => lost(new Error(`connection to port ${port} closed`)))
    socket.on("connect", () =>
      resolve({
        send: (...command) =>
          new Promise((resolve, reject) => {
            if (socket.destroyed) return reject(new Error(`connection to port ${port} is closed`))
            waiting.push({ resolve, reject })
            socket.write(encode(command))
          }),
        isOpen: () => !socket.destroyed,
        close: () => socket.destroy()
      }))
  })
