/**
 * One connection to Redis (a server, the master behind sentinels, or a cluster): opened, asked, closed. What ioredis leaves open
 * is closed here: errors nobody listens to, commands that wait for a connection, a close that never ends.
 */
import * as Effect from "effect/Effect"
import type * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import { Cluster, Redis as IoRedis } from "ioredis"
import type { RedisOptions } from "ioredis"
import { failed, timedOut, unreachable } from "./ioRedisError.ts"
import { clusterOptions, dedicatedOptions, sharedOptions, textOf } from "./ioRedisOptions.ts"
import type { Settings } from "./ioRedisOptions.ts"

export type Client = IoRedis | Cluster

/** A client and what its last attempt to connect ended with. */
export interface Connection {
  readonly client: Client
  readonly lastError: () => unknown
}

// What ioredis does not let us say: its connections to sentinels hold a timer of two seconds each after they are closed.
const single = (options: RedisOptions): IoRedis => {
  // Under exactOptionalPropertyTypes ioredis' own option types do not fit its constructors.
  const client = new IoRedis(options as never)
  const { connector } = client as unknown as {
    readonly connector: { connectToSentinel?: (...args: Array<object>) => object }
  }
  const connect = connector.connectToSentinel?.bind(connector)
  if (connect !== undefined) {
    connector.connectToSentinel = (endpoint, own) =>
      connect(endpoint, { ...own, disconnectTimeout: options.disconnectTimeout })
  }
  return client
}

const open = (settings: Settings, options: RedisOptions, reconnects: boolean): Client => {
  const { target } = settings
  if (target._tag !== "Cluster") return single(options)
  const client = new Cluster(
    target.nodes.map((node) => ({ ...node })),
    clusterOptions(settings, options, reconnects) as never
  )
  // ASKING goes out without anybody waiting for its answer; its failure is the next command's.
  client.on("+node", (node: IoRedis) => {
    const asking = node.asking.bind(node) as () => Promise<unknown>
    Object.assign(node, {
      asking: () => {
        const sent = asking()
        sent.catch(() => {})
        return sent
      }
    })
  })
  // Commands that found no node wait inside; without a cluster they must not.
  const waiting = client as unknown as { readonly flushQueue: (error: Error) => void }
  client.on("close", () => waiting.flushQueue(new Error("Connection is closed.")))
  return client
}

const listened = (client: Client): Connection => {
  let last: unknown
  const keep = (error: unknown): void => void (last = error)
  client.on("error", keep)
  client.on("node error", keep)
  client.on("ready", () => keep(undefined))
  return { client, lastError: () => last }
}

/** The connection all commands share; it reconnects by itself. */
export const shared = (settings: Settings): Connection => listened(open(settings, sharedOptions(settings), true))

/** A connection of its own; it ends when it is lost. */
export const dedicated = (settings: Settings): Connection => listened(open(settings, dedicatedOptions(settings), false))

// Ends at the latest half a second later, whatever ioredis does: a client that is waiting to reconnect never says "end".
const close = ({ client }: Connection): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const { status } = client
    client.disconnect()
    if (status === "end" || status === "wait" || status === "reconnecting" || status === "close") {
      return resume(Effect.void)
    }
    const end = (): void => {
      clearTimeout(timer)
      client.off("end", end)
      resume(Effect.void)
    }
    const timer = setTimeout(end, 500)
    client.on("end", end)
  })

/** Connects, or fails within `connectTimeout`: the TCP connection, the handshake and (in a cluster) the map of slots together. */
export const connect = (settings: Settings, connection: Connection): Effect.Effect<void, Redis.RedisError> =>
  Effect.callback((resume) => {
    const { client, lastError } = connection
    const away = (error: unknown): void => {
      clearTimeout(timer)
      resume(Effect.fail(unreachable("CONNECT", textOf(settings.target), lastError() ?? error)))
    }
    const timer = setTimeout(
      () => away(new Error(`no answer within ${settings.connectTimeout} ms`)),
      settings.connectTimeout
    )
    const connected = (): void => {
      clearTimeout(timer)
      resume(Effect.void)
    }
    client.connect().then(connected, away)
    return Effect.sync(() => clearTimeout(timer))
  })

/** A connection of the scope. */
export const scoped = (open: () => Connection): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.sync(open), close)

/** A dedicated connection, and how to close it; closing fails what still runs on it. */
export const reserved = (
  settings: Settings
): Effect.Effect<
  { readonly send: Redis.Redis["Service"]["send"]; readonly close: Effect.Effect<void> },
  Redis.RedisError
> =>
  Effect.suspend(() => {
    const connection = dedicated(settings)
    return connect(settings, connection).pipe(
      Effect.as({ send: sendWith(connection), close: close(connection) }),
      Effect.onError(() => close(connection))
    )
  })

// Every master must know a script, since its keys decide who runs it. One that is away learns it when it answers NOSCRIPT.
const onMasters = (masters: ReadonlyArray<IoRedis>, name: string, args: ReadonlyArray<string>): Promise<unknown> =>
  Promise.allSettled(masters.map((master) => master.call(name, [...args]))).then((outcomes) => {
    const good = outcomes.find((outcome) => outcome.status === "fulfilled")
    if (good !== undefined) return good.value
    const [bad] = outcomes
    return Promise.reject(bad?.status === "rejected" ? bad.reason : new Error("None of startup nodes is available"))
  })

const forAll = new Set(["LOAD", "FLUSH"])

const call = (client: Client, name: string, args: ReadonlyArray<string>): Promise<unknown> =>
  client.isCluster && name === "SCRIPT" && forAll.has(args[0]?.toUpperCase() ?? "")
    ? onMasters((client as Cluster).nodes("master"), name, args)
    : client.call(name, args as Array<string>)

/**
 * One command. The name goes out in capitals: ioredis reshapes replies and arguments of names it knows in small letters only.
 * Without a connection it fails at once and nothing is sent; without an answer it fails after `commandTimeout`, if there is one.
 */
export const sendWith = (
  { client, lastError }: Connection,
  commandTimeout?: number
): Redis.Redis["Service"]["send"] =>
<A>(command: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<A, Redis.RedisError>((resume) => {
    const name = command.toUpperCase()
    if (client.status !== "ready") return resume(Effect.fail(unreachable(name, client.status, lastError())))
    const timer = commandTimeout === undefined
      ? undefined
      : setTimeout(() => resume(Effect.fail(timedOut(name, commandTimeout))), commandTimeout)
    const end = (exit: Effect.Effect<A, Redis.RedisError>): void => {
      clearTimeout(timer)
      resume(exit)
    }
    call(client, name, args).then(
      (reply) => end(Effect.succeed(reply as A)),
      (error: unknown) => end(Effect.fail(failed(name, error)))
    )
    return Effect.sync(() => clearTimeout(timer))
  })

/** Fails when the connection has ended. */
export const ended = ({ client, lastError }: Connection): Effect.Effect<never, Redis.RedisError> =>
  Effect.callback((resume) => {
    const end = (): void => resume(Effect.fail(unreachable("SUBSCRIBE", "end", lastError())))
    if (client.status === "end") return end()
    client.once("end", end)
    return Effect.sync(() => client.off("end", end))
  })
