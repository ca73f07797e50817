/**
 * A TCP proxy in front of a Redis server that can do to a connection what networks and servers do: delay, cut, stay silent,
 * forget one side, answer something else. It reads the protocol, so it counts requests and puts its own replies in their place.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { connect, createServer } from "node:net"
import type { AddressInfo, Server as TcpServer, Socket } from "node:net"
import { frames } from "./redis/resp.ts"

/** What the proxy may answer in the server's place, as the server itself would say it. */
export const replies = {
  READONLY: "-READONLY You can't write against a read only replica.\r\n",
  LOADING: "-LOADING Redis is loading the dataset in memory\r\n",
  OOM: "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
  MOVED: "-MOVED 3999 127.0.0.1:6381\r\n",
  CROSSSLOT: "-CROSSSLOT Keys in request don't hash to the same slot\r\n",
  NOSCRIPT: "-NOSCRIPT No matching script. Please use EVAL.\r\n",
  BUSY: "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
  TRYAGAIN: "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
} as const

/** Faults begin and end when they are called, for all connections, open ones and new ones, unless it says otherwise. */
export interface Proxy {
  readonly host: "127.0.0.1"
  readonly port: number
  readonly url: string
  /** How many connections are open now. */
  readonly connections: () => number
  /** How many connections were ever accepted. */
  readonly accepted: () => number
  /** How many requests of a command have come in, forwarded or not; without a name, of all. */
  readonly requests: (command?: string) => number
  /** Every reply arrives this much later. */
  readonly delay: (millis: number) => void
  /** Resets every open connection. */
  readonly cut: () => void
  /** Lets this many more bytes of replies through, on all connections together, then resets the connection they came on. */
  readonly cutAfter: (replyBytes: number) => void
  /** Accepts nothing: new connections are refused, open ones reset. `heal` listens again. */
  readonly refuse: () => Effect.Effect<void>
  /** Holds all bytes both ways without a reset, as a partition does; `heal` delivers them on connections that are still open. */
  readonly blackhole: () => void
  /** The far side of the open connections is gone and this side never hears of it. New connections work. */
  readonly halfOpen: () => void
  /** Answers the next requests of a command itself (`times`, default 1); the server never sees them. */
  readonly inject: (reply: string, options: { readonly command: string; readonly times?: number }) => void
  /** Ends every fault. */
  readonly heal: () => Effect.Effect<void>
}

interface Faults {
  delayMillis: number
  held: boolean
  cutAfter: number
  injection: { readonly reply: string; readonly command: string; times: number } | undefined
}

interface Link {
  readonly flush: () => void
  readonly reset: () => void
  readonly forget: () => void
}

// One direction: bytes wait here while they are delayed or held, and leave in their order.
const lane = (faults: Faults, delayed: boolean, write: (bytes: Buffer) => void) => {
  const waiting: Array<{ readonly bytes: Buffer; readonly due: number }> = []
  let timer: NodeJS.Timeout | undefined
  const flush = (): void => {
    clearTimeout(timer)
    while (!faults.held && waiting.length > 0) {
      const left = waiting[0]!.due - performance.now()
      if (left > 0) return void (timer = setTimeout(flush, Math.ceil(left)))
      write(waiting.shift()!.bytes)
    }
  }
  return {
    push: (bytes: Buffer): void => {
      waiting.push({ bytes, due: performance.now() + (delayed ? faults.delayMillis : 0) })
      if (waiting.length === 1) flush()
    },
    flush,
    end: (): void => {
      clearTimeout(timer)
      waiting.length = 0
    }
  }
}

// Replies leave in the order of their requests, the proxy's own among the server's.
const turns = (send: (bytes: Buffer) => void) => {
  const due: Array<Buffer | undefined> = []
  const own = (): void => {
    while (due[0] !== undefined) send(due.shift()!)
  }
  return {
    forwarded: (): void => void due.push(undefined),
    injected: (reply: string): void => {
      due.push(Buffer.from(reply))
      own()
    },
    // A push of version 3 answers no request. (Pub/sub of version 2 cannot be told apart: do not inject there.)
    reply: (bytes: Buffer, isPush: boolean): void => {
      send(bytes)
      if (!isPush) due.shift()
      own()
    }
  }
}

const link = (client: Socket, targetPort: number, faults: Faults, saw: (command: string) => void): Link => {
  const server = connect({ host: "127.0.0.1", port: targetPort, noDelay: true })
  let forgotten = false
  const reset = (): void => {
    server.destroy()
    if (!client.destroyed) client.resetAndDestroy()
  }
  const toClient = lane(faults, true, (bytes) => {
    if (client.destroyed) return
    if (bytes.length <= faults.cutAfter) {
      faults.cutAfter -= bytes.length
      return void client.write(bytes)
    }
    const rest = bytes.subarray(0, faults.cutAfter)
    faults.cutAfter = Number.POSITIVE_INFINITY
    // The bytes before the cut must arrive: an orderly end after them, no reset that could overtake them.
    client.end(rest, () => reset())
  })
  const toServer = lane(faults, false, (bytes) => void server.write(bytes))
  const order = turns(toClient.push)
  const asked = frames()
  const answered = frames()
  client.on("data", (chunk) => {
    if (forgotten) return
    for (const { bytes, frame } of asked(chunk)) {
      const command = String((frame.value as ReadonlyArray<string>)[0]).toUpperCase()
      saw(command)
      const { injection } = faults
      if (injection !== undefined && injection.times > 0 && injection.command === command) {
        injection.times--
        order.injected(injection.reply)
      } else {
        order.forwarded()
        toServer.push(bytes)
      }
    }
  })
  server.on("data", (chunk) => {
    for (const { bytes, frame } of answered(chunk)) order.reply(bytes, frame.type === ">")
  })
  const over = (): void => {
    toClient.end()
    toServer.end()
    server.destroy()
  }
  client.on("error", over).on("close", over)
  server.on("error", () => forgotten || reset()).on("close", () => forgotten || faults.held || client.destroy())
  return {
    flush: () => {
      toServer.flush()
      toClient.flush()
      if (server.destroyed && !forgotten) client.destroy()
    },
    reset,
    forget: () => {
      forgotten = true
      toClient.end()
      toServer.end()
      server.destroy()
    }
  }
}

const listen = (server: TcpServer, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once("error", reject)
    server.listen(port, "127.0.0.1", () => {
      server.off("error", reject)
      resolve()
    })
  })

const open = async (targetPort: number): Promise<Proxy & { readonly close: () => Promise<void> }> => {
  const faults: Faults = { delayMillis: 0, held: false, cutAfter: Number.POSITIVE_INFINITY, injection: undefined }
  const links = new Map<Socket, Link>()
  const seen = new Map<string, number>()
  let accepted = 0
  const server = createServer({ noDelay: true }, (client) => {
    accepted++
    links.set(client, link(client, targetPort, faults, (command) => seen.set(command, (seen.get(command) ?? 0) + 1)))
    client.on("close", () => links.delete(client))
  })
  await listen(server, 0)
  const { port } = server.address() as AddressInfo
  const each = (act: (link: Link) => void): void => [...links.values()].forEach(act)
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      each(({ reset }) => reset())
    })
  return {
    host: "127.0.0.1",
    port,
    url: `redis://127.0.0.1:${port}`,
    connections: () => links.size,
    accepted: () => accepted,
    requests: (command) =>
      command === undefined
        ? [...seen.values()].reduce((sum, count) => sum + count, 0)
        : seen.get(command.toUpperCase()) ?? 0,
    delay: (millis) => void (faults.delayMillis = millis),
    cut: () => each(({ reset }) => reset()),
    cutAfter: (replyBytes) => void (faults.cutAfter = replyBytes),
    refuse: () => Effect.promise(stop),
    blackhole: () => void (faults.held = true),
    halfOpen: () => each(({ forget }) => forget()),
    inject: (reply, { command, times = 1 }) =>
      void (faults.injection = { reply, command: command.toUpperCase(), times }),
    heal: () =>
      Effect.promise(async () => {
        Object.assign(faults, { delayMillis: 0, held: false, cutAfter: Number.POSITIVE_INFINITY, injection: undefined })
        each(({ flush }) => flush())
        if (!server.listening) await listen(server, port)
      }),
    close: () => server.listening ? stop() : Promise.resolve()
  }
}

/** A proxy of the scope in front of a port of loopback. */
export const proxy = (targetPort: number): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.promise(() => open(targetPort)), ({ close }) => Effect.promise(close))
