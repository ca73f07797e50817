/**
 * Real Redis for tests: a `redis-server` child process on a free port of loopback, a cluster of three, a master with a replica
 * and a sentinel. All scoped, none outlives the tests. They run on the real clock, also inside a test on `TestClock`.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { folder, freePort, isInstalled, start, until } from "./redis/process.ts"
import type { Child } from "./redis/process.ts"
import { plain } from "./redis/resp.ts"
import type { Plain, Reply } from "./redis/resp.ts"

const installed = isInstalled("redis-server")

/**
 * A `describe` that needs `redis-server`. Without it one test stands in for all of them: skipped, under a name that says what to
 * do, or failing with `TOOLFORMER_REQUIRE_REDIS=1`.
 */
export const describeRedis = (name: string, tests: () => void): void => {
  if (installed) return void describe(name, tests)
  const required = process.env["TOOLFORMER_REQUIRE_REDIS"] === "1"
  describe(name, () => {
    it.skipIf(!required)(
      "needs redis-server: apt-get install redis-server",
      () => assert.fail("TOOLFORMER_REQUIRE_REDIS=1, and redis-server does not start")
    )
  })
}

/**
 * How a server is started. `appendonly`: every write is on disk before its answer. `config`: any directive of `redis.conf`, such
 * as `{ maxmemory: "2mb", "maxmemory-policy": "allkeys-lru" }`.
 */
export interface ServerOptions {
  readonly appendonly?: boolean
  readonly config?: Readonly<Record<string, string>>
}

/** One `redis-server`. Its port and folder stay the same over restarts. */
export interface Server {
  readonly host: "127.0.0.1"
  readonly port: number
  readonly url: string
  /** One command over a plain connection; the server's error is a defect with its text. */
  readonly send: (...command: ReadonlyArray<string>) => Effect.Effect<Reply>
  /** How often the server has run a command, by `INFO commandstats`; 0 when never. */
  readonly calls: (command: string) => Effect.Effect<number>
  /** One field of `INFO`, such as `connected_clients`. */
  readonly info: (field: string) => Effect.Effect<string | undefined>
  /** SIGKILL, and the end awaited. */
  readonly kill: Effect.Effect<void>
  /** Starts it again after `kill`; `keepData: false` empties its folder first. Ready when this ends. */
  readonly start: (options?: { readonly keepData?: boolean }) => Effect.Effect<void>
  /** SIGSTOP: connections stay open and nobody answers. */
  readonly freeze: Effect.Effect<void>
  /** SIGCONT. */
  readonly thaw: Effect.Effect<void>
}

/** A server without options, shared by the tests of one `layer(...)` block. */
export class RedisServer extends Context.Service<RedisServer, Server>()("test/RedisServer") {
  static readonly layer = (options: ServerOptions = {}): Layer.Layer<RedisServer> =>
    Layer.effect(RedisServer, redisServer(options))
}

interface Running extends Server {
  readonly request: (...command: ReadonlyArray<string>) => Promise<Reply>
  readonly stop: () => Promise<void>
}

// A connection is opened when it is needed, and again when the server was away or hung up.
const requests = (port: number): {
  readonly request: (...command: ReadonlyArray<string>) => Promise<Reply>
  readonly close: () => void
} => {
  let open: Plain | undefined
  return {
    request: async (...command) => {
      if (open?.isOpen() !== true) open = await plain(port)
      return open.send(...command)
    },
    close: () => open?.close()
  }
}

const infoOf = (text: Reply): ReadonlyMap<string, string> =>
  new Map(
    String(text).split("\r\n").filter((line) => line.includes(":")).map((line) => {
      const at = line.indexOf(":")
      return [line.slice(0, at), line.slice(at + 1)] as const
    })
  )

const launch = async (
  options: ServerOptions,
  file?: { readonly name: string; readonly text: string }
): Promise<Running> => {
  const { empty, path, remove } = folder()
  const port = await freePort()
  const settings: Record<string, string> = {
    port: String(port),
    bind: "127.0.0.1",
    dir: path,
    save: "",
    appendonly: options.appendonly === true ? "yes" : "no",
    appendfsync: "always",
    loglevel: "warning",
    ...options.config
  }
  const directives = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const connection = requests(port)
  let child: Child

  const run = async (): Promise<void> => {
    if (file !== undefined) writeFileSync(join(path, file.name), file.text)
    const sentinel = file !== undefined
    const args = sentinel ? [join(path, file.name), "--port", String(port), "--dir", path, "--sentinel"] : directives
    child = start("redis-server", args)
    await until(() => `redis-server answers on port ${port}\n${child.output()}`, async () => {
      if (child.hasEnded()) throw new Error(`redis-server ended: ${child.output()}`)
      return connection.request("PING").then((reply) => reply === "PONG", () => (connection.close(), false))
    })
  }
  await run()

  const { request } = connection
  const signal = (name: NodeJS.Signals) => Effect.sync(() => void child.process.kill(name))
  const info = async (section: string): Promise<ReadonlyMap<string, string>> => infoOf(await request("INFO", section))
  return {
    host: "127.0.0.1",
    port,
    url: `redis://127.0.0.1:${port}`,
    request,
    send: (...command) => Effect.promise(() => request(...command)),
    calls: (command) =>
      Effect.promise(async () => {
        const line = (await info("commandstats")).get(`cmdstat_${command.toLowerCase()}`)
        return Number(/calls=(\d+)/.exec(line ?? "")?.[1] ?? 0)
      }),
    info: (field) => Effect.promise(async () => (await info("everything")).get(field)),
    kill: Effect.promise(async () => {
      await child.kill()
      connection.close()
    }),
    start: ({ keepData = true } = {}) =>
      Effect.promise(async () => {
        if (!child.hasEnded()) throw new Error("start: the server is running")
        if (!keepData) empty()
        await run()
      }),
    freeze: signal("SIGSTOP"),
    thaw: signal("SIGCONT"),
    stop: async () => {
      connection.close()
      await child.kill()
      remove()
    }
  }
}

const scoped = (acquire: () => Promise<Running>): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.promise(acquire), (server) => Effect.promise(server.stop))

/** A server of the scope; ready when this ends. */
export const redisServer = (options: ServerOptions = {}): Effect.Effect<Server, never, Scope.Scope> =>
  scoped(() => launch(options))

/** A cluster whose slots are spread over three masters. */
export interface Cluster {
  readonly masters: ReadonlyArray<Server>
  readonly nodes: ReadonlyArray<{ readonly host: string; readonly port: number }>
  /** Starts one more master, without slots, and waits until all know it. */
  readonly join: Effect.Effect<Server, never, Scope.Scope>
  /** Moves a slot with its keys, as `redis-cli --cluster reshard` does. */
  readonly moveSlot: (slot: number, to: Server) => Effect.Effect<void>
  /** Begins to move a slot and stops before its keys move: the old owner answers `ASK` for keys it has not. */
  readonly beginMove: (slot: number, to: Server) => Effect.Effect<void>
  /** The slot of a key. */
  readonly slotOf: (key: string) => Effect.Effect<number>
  /** The master that owns a slot now. */
  readonly ownerOf: (slot: number) => Effect.Effect<Server>
}

const clusterNode = async (options: ServerOptions): Promise<Running> =>
  launch({
    ...options,
    config: {
      "cluster-enabled": "yes",
      "cluster-port": String(await freePort()),
      "cluster-node-timeout": "5000",
      ...options.config
    }
  })

const settled = (nodes: ReadonlyArray<Running>): Promise<void> =>
  until(() => "every node of the cluster knows all others", async () => {
    const infos = await Promise.all(nodes.map(({ request }) => request("CLUSTER", "INFO")))
    // A node that is known may still be without a link, and what is published does not reach it then.
    const links = await Promise.all(nodes.map(({ request }) => request("CLUSTER", "NODES")))
    return infos.map(infoOf).every((info) =>
      info.get("cluster_state") === "ok" && info.get("cluster_known_nodes") === String(nodes.length) &&
      info.get("cluster_slots_ok") === "16384"
    ) && !/handshake|disconnected/.test(links.join("\n"))
  })

const meet = async (node: Running, others: ReadonlyArray<Running>): Promise<void> => {
  for (const other of others) {
    const [, busPort] = await other.request("CONFIG", "GET", "cluster-port") as ReadonlyArray<string>
    await node.request("CLUSTER", "MEET", "127.0.0.1", String(other.port), String(busPort))
  }
}

/** A cluster of the scope: three masters, no replicas; ready when this ends. */
export const redisCluster = (options: ServerOptions = {}): Effect.Effect<Cluster, never, Scope.Scope> =>
  Effect.gen(function*() {
    const node = scoped(() => clusterNode(options))
    const nodes = yield* Effect.all([node, node, node], { concurrency: "unbounded" })
    const borders = [0, 5461, 10_923, 16_384]
    yield* Effect.promise(async () => {
      for (const [index, { request }] of nodes.entries()) {
        await request("CLUSTER", "ADDSLOTSRANGE", String(borders[index]), String(borders[index + 1]! - 1))
        await request("CLUSTER", "SET-CONFIG-EPOCH", String(index + 1))
      }
      await meet(nodes[0], nodes.slice(1))
      await settled(nodes)
    })
    return clusterOf(nodes, node)
  })

const clusterOf = (nodes: Array<Running>, node: Effect.Effect<Running, never, Scope.Scope>): Cluster => {
  const first = nodes[0]!
  const idOf = async (server: Server): Promise<string> =>
    String(await nodes.find(({ port }) => port === server.port)!.request("CLUSTER", "MYID"))
  const owner = async (slot: number): Promise<Running> => {
    const rows = await first.request("CLUSTER", "SLOTS") as ReadonlyArray<
      readonly [number, number, readonly [string, number]]
    >
    const port = rows.find(([from, to]) => from <= slot && slot <= to)?.[2][1]
    return nodes.find((each) => each.port === port)!
  }
  const begin = async (slot: number, to: Server): Promise<readonly [from: Running, target: Running]> => {
    const from = await owner(slot)
    const target = nodes.find(({ port }) => port === to.port)!
    await target.request("CLUSTER", "SETSLOT", String(slot), "IMPORTING", await idOf(from))
    await from.request("CLUSTER", "SETSLOT", String(slot), "MIGRATING", await idOf(target))
    return [from, target]
  }
  return {
    masters: nodes,
    nodes: nodes.map(({ host, port }) => ({ host, port })),
    join: Effect.tap(node, (joined) =>
      Effect.promise(async () => {
        await meet(first, [joined])
        nodes.push(joined)
        await settled(nodes)
      })),
    beginMove: (slot, to) => Effect.asVoid(Effect.promise(() => begin(slot, to))),
    moveSlot: (slot, to) =>
      Effect.promise(async () => {
        const [from, target] = await begin(slot, to)
        const keys = await from.request("CLUSTER", "GETKEYSINSLOT", String(slot), "1000") as ReadonlyArray<string>
        for (const key of keys) await from.request("MIGRATE", "127.0.0.1", String(target.port), key, "0", "5000")
        for (const each of [target, from, ...nodes]) {
          await each.request("CLUSTER", "SETSLOT", String(slot), "NODE", await idOf(target))
        }
      }),
    slotOf: (key) => Effect.promise(async () => Number(await first.request("CLUSTER", "KEYSLOT", key))),
    ownerOf: (slot) => Effect.promise(() => owner(slot))
  }
}

/** A master named `main`, a replica of it, and the sentinel that watches them and fails over within about two seconds. */
export interface Sentinel {
  readonly name: "main"
  readonly sentinel: Server
  readonly master: Server
  readonly replica: Server
}

const sentinelText = (master: Server): string =>
  [
    `sentinel monitor main 127.0.0.1 ${master.port} 1`,
    "sentinel down-after-milliseconds main 500",
    "sentinel failover-timeout main 3000",
    ""
  ].join("\n")

/** A sentinel of the scope with a master and a replica that is in step; ready when this ends. */
export const redisSentinel = (options: ServerOptions = {}): Effect.Effect<Sentinel, never, Scope.Scope> =>
  Effect.gen(function*() {
    const master = yield* scoped(() =>
      launch({ ...options, config: { "repl-diskless-sync-delay": "0", ...options.config } })
    )
    const replica = yield* scoped(() =>
      launch({ ...options, config: { replicaof: `127.0.0.1 ${master.port}`, ...options.config } })
    )
    yield* Effect.promise(() =>
      until(
        () => "the replica is in step",
        async () => infoOf(await replica.request("INFO", "replication")).get("master_link_status") === "up"
      )
    )
    const sentinel = yield* scoped(() => launch({}, { name: "sentinel.conf", text: sentinelText(master) }))
    yield* Effect.promise(() =>
      until(() => "the sentinel knows the replica", async () => {
        const found = await sentinel.request("SENTINEL", "REPLICAS", "main") as ReadonlyArray<ReadonlyArray<string>>
        return found.length === 1 && found[0]![found[0]!.indexOf("flags") + 1] === "slave"
      })
    )
    return { name: "main", sentinel, master, replica }
  })
