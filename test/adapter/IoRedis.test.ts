import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import { assert, describe, it, layer } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import * as RateLimiter from "effect/persistence/RateLimiter"
import * as Redis from "effect/persistence/Redis"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { join } from "node:path"
import * as IoRedis from "../../src/adapter/IoRedis.ts"
import { connected, eventually, eventuallyEqual, named } from "../faults/redisClient.ts"
import { proxy, replies } from "../proxy.ts"
import { describeRedis, redisCluster, redisSentinel, RedisServer, redisServer } from "../redis.ts"
import type { Server } from "../redis.ts"
import { start, until } from "../redis/process.ts"

const kindOf = (error: Redis.RedisError): string => named(error).split(" ")[0]!

const codeOf = (error: Redis.RedisError): string | undefined => named(error).split(" ")[1]

const infoIs = (server: Server, field: string, wanted: string | undefined): Effect.Effect<void> =>
  eventuallyEqual(wanted, server.info(field))

const ascending = (values: ReadonlyArray<number>): ReadonlyArray<number> => values.toSorted((a, b) => a - b)

const add = Redis.script((key: string, amount: number) => [key, amount], {
  numberOfKeys: 1,
  lua: `return redis.call("INCRBY", KEYS[1], ARGV[1])`
}).withReturnType<number>()

describeRedis("IoRedis on one server", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    it.effect("sends commands and gives replies as Redis says them, whatever the case of the name", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const { redis } = yield* connected({ url })
        assert.strictEqual(yield* redis.send("ping"), "PONG")
        yield* redis.send("HSET", "h", "поле", "1", "b", "")
        assert.deepStrictEqual(yield* redis.send("hgetall", "h"), ["поле", "1", "b", ""])
        assert.strictEqual(yield* redis.send("GET", "none"), null)
        assert.deepStrictEqual(yield* redis.send("MGET", "none", "none"), [null, null])
      }))

    it.effect("runs scripts, also when the server has forgotten them", () =>
      Effect.gen(function*() {
        const server = yield* RedisServer
        const { redis } = yield* connected({ host: server.host, port: server.port })
        assert.strictEqual(yield* redis.eval(add)("lua", 2), 2)
        yield* server.send("SCRIPT", "FLUSH")
        assert.strictEqual(yield* redis.eval(add)("lua", 3), 5)
        const reserved = yield* redis.reserve
        assert.strictEqual(yield* reserved.eval(add)("lua", 1), 6)
      }))

    it.effect("selects the database of the URL, and options win over it", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const first = yield* connected({ url: `${url}/3` })
        yield* first.redis.send("SET", "only-in-3", "x")
        const second = yield* connected({ url: Redacted.make(`${url}/3`), database: 4 })
        assert.strictEqual(yield* second.redis.send("GET", "only-in-3"), null)
      }))

    it.effect("says which command was refused and why, never its arguments", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const { redis } = yield* connected({ url })
        yield* redis.send("SET", "string", "x")
        const error = yield* Effect.flip(redis.send("LPUSH", "string", "canary"))
        assert.deepStrictEqual([kindOf(error), codeOf(error)], ["Refused", "WRONGTYPE"])
        assert.include(String(error.cause), "WRONGTYPE")
        assert.notInclude(JSON.stringify(error) + String(error) + JSON.stringify(error.cause), "canary")
      }))

    it.effect("publishes and subscribes", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const { redis } = yield* connected({ url })
        const messages = yield* redis.subscribe("news")
        assert.strictEqual(yield* redis.send("PUBLISH", "news", "one"), 1)
        assert.deepStrictEqual(yield* Queue.take(messages), { channel: "news", message: "one" })
      }))

    it.effect("gives a blocking command a connection of its own, which an interrupted one loses", () =>
      Effect.gen(function*() {
        const server = yield* RedisServer
        const { redis } = yield* connected({ url: server.url, pool: { maxConnections: 1 } })
        const blocked = yield* Effect.forkChild(
          Effect.scoped(Effect.flatMap(redis.reserve, ({ send }) => send("BLPOP", "list", "0"))),
          { startImmediately: true }
        )
        yield* infoIs(server, "blocked_clients", "1")
        assert.strictEqual(yield* redis.send("PING"), "PONG")
        yield* Fiber.interrupt(blocked)
        yield* infoIs(server, "blocked_clients", "0")
        yield* server.send("RPUSH", "list", "x")
        const value = yield* Effect.scoped(Effect.flatMap(redis.reserve, ({ send }) => send("BLPOP", "list", "0")))
        assert.deepStrictEqual(value, ["list", "x"])
      }))

    it.effect("waits longer than commandTimeout on a reserved connection only", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const { redis } = yield* connected({ url, commandTimeout: 50 })
        const { send } = yield* redis.reserve
        assert.strictEqual(yield* send("BLPOP", "nothing", "0.3"), null)
        assert.strictEqual(kindOf(yield* Effect.flip(redis.send("BLPOP", "nothing", "0.3"))), "TimedOut")
      }))

    it.effect("closes every connection with its scope, also those in use", () =>
      Effect.gen(function*() {
        const server = yield* RedisServer
        const before = yield* server.info("connected_clients")
        const scope = yield* Scope.make()
        const { client, redis } = yield* Scope.provide(connected({ url: server.url }), scope)
        yield* Scope.provide(redis.subscribe("a"), scope)
        const reserved = yield* Scope.provide(redis.reserve, scope)
        const blocked = yield* Effect.forkChild(Effect.exit(reserved.send("BLPOP", "empty", "0")))
        yield* redis.send("PING")
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(client.status, "end")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(blocked)))
        yield* infoIs(server, "connected_clients", before)
        assert.strictEqual(kindOf(yield* Effect.flip(redis.send("PING"))), "Unreachable")
      }))

    it.effect("runs Effect's rate limiter", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const live = RateLimiter.layer.pipe(
          Layer.provide(RateLimiter.layerStoreRedis({ prefix: "rl:" })),
          Layer.provide(IoRedis.layer({ url }))
        )
        const outcomes = yield* Effect.gen(function*() {
          const limiter = yield* RateLimiter.RateLimiter
          const consume = limiter.consume({
            key: "k",
            limit: 2,
            window: "1 hour",
            algorithm: "token-bucket",
            onExceeded: "fail"
          })
          return [yield* Effect.exit(consume), yield* Effect.exit(consume), yield* Effect.exit(consume)]
        }).pipe(Effect.provide(live))
        assert.deepStrictEqual(outcomes.map(Exit.isSuccess), [true, true, false])
        assert.include(String(outcomes[2]), "RateLimiterError")
      }))

    it.effect("runs Effect's circuit breaker", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const live = CircuitBreaker.layer({ tripPolicy: CircuitBreaker.consecutive(2), openDuration: "1 hour" }).pipe(
          Layer.provide(CircuitBreaker.layerStoreRedis({ prefix: "cb:" })),
          Layer.provide(IoRedis.layer({ url }))
        )
        yield* Effect.gen(function*() {
          const breaker = yield* CircuitBreaker.CircuitBreaker
          const failing = Effect.flip(breaker.execute(Effect.fail("boom"), { key: "svc" }))
          assert.deepStrictEqual([yield* failing, yield* failing], ["boom", "boom"])
          assert.include(String(yield* failing), "CircuitBreakerError")
        }).pipe(Effect.provide(live))
      }))

    it.effect("runs Effect's persisted queue", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const live = PersistedQueue.layer.pipe(
          Layer.provide(PersistedQueue.layerStoreRedis({ prefix: "pq:", pollInterval: 50 })),
          Layer.provide([IoRedis.layer({ url }), NodeCrypto.layer])
        )
        const taken = yield* Effect.gen(function*() {
          const queue = yield* PersistedQueue.make({ name: "jobs", schema: Schema.Number })
          yield* queue.offer(7)
          return yield* queue.take((value, { attempts }) => Effect.succeed([value, attempts]))
        }).pipe(Effect.provide(live))
        assert.deepStrictEqual(taken, [7, 1])
      }))
  })
})

describeRedis("IoRedis when Redis is away", () => {
  const closedPort = Effect.scoped(Effect.flatMap(redisServer(), ({ kill, port }) => Effect.as(kill, port)))

  it.live("fails to build within the connect timeout, saying why", () =>
    Effect.gen(function*() {
      const port = yield* closedPort
      const began = performance.now()
      const error = yield* Effect.flip(Layer.build(IoRedis.layer({ port })))
      assert.isBelow(performance.now() - began, 1500)
      assert.strictEqual(kindOf(error), "Unreachable")
      assert.include(error.message, `CONNECT: no connection to Redis (127.0.0.1:${port}): connect ECONNREFUSED`)
    }))

  it.live("fails to build within the connect timeout when somebody accepts and stays silent", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const front = yield* proxy(server.port)
      front.blackhole()
      for (
        const target of [
          { url: front.url },
          { sentinels: [`127.0.0.1:${front.port}`], name: "main" },
          { cluster: [`127.0.0.1:${front.port}`] }
        ]
      ) {
        const began = performance.now()
        const error = yield* Effect.flip(Layer.build(IoRedis.layer({ ...target, connectTimeout: 400 })))
        assert.isBelow(performance.now() - began, 2000, JSON.stringify(target))
        assert.strictEqual(kindOf(error), "Unreachable")
        assert.include(error.message, `127.0.0.1:${front.port}`)
      }
    }))

  it.live("builds all the same with connect \"background\" and works when Redis comes, commands and subscriptions", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      yield* server.kill
      const { redis } = yield* connected({ url: server.url, connect: "background" })
      const messages = yield* redis.subscribe("c")
      assert.strictEqual(kindOf(yield* Effect.flip(redis.send("PING"))), "Unreachable")
      assert.strictEqual(kindOf(yield* Effect.flip(Effect.scoped(redis.reserve))), "Unreachable")
      yield* server.start()
      assert.strictEqual(yield* eventually(redis.send("PING")), "PONG")
      yield* eventuallyEqual(1, redis.send("PUBLISH", "c", "hello"))
      assert.strictEqual((yield* Queue.take(messages)).message, "hello")
      assert.strictEqual(yield* eventually(redis.eval(add)("k", 1)), 1)
    }))

  it.live("is connected when it is built with connect \"background\" and Redis is there", () =>
    Effect.gen(function*() {
      const { url } = yield* redisServer()
      for (let left = 10; left > 0; left--) {
        const { redis } = yield* connected({ url, connect: "background" })
        assert.strictEqual(yield* redis.send("PING"), "PONG")
      }
    }))

  it.live("comes back after a restart, with its scripts and subscriptions", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const { redis } = yield* connected({ url: server.url })
      const messages = yield* redis.subscribe("c")
      yield* redis.eval(add)("k", 5)
      yield* server.kill
      assert.isTrue(Exit.isFailure(yield* Effect.exit(redis.eval(add)("k", 1))))
      yield* server.start()
      assert.strictEqual(yield* eventually(redis.eval(add)("k", 1)), 1)
      yield* eventuallyEqual(1, redis.send("PUBLISH", "c", "again"))
      assert.strictEqual((yield* Queue.take(messages)).message, "again")
    }))

  it.live("refuses a wrong password without showing it", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      yield* server.send("CONFIG", "SET", "requirepass", "right")
      const wrong = yield* Effect.flip(Layer.build(IoRedis.layer({ url: server.url, password: "canary-secret" })))
      assert.strictEqual(codeOf(wrong), "WRONGPASS")
      assert.isFalse(wrong.cause instanceof IoRedis.CommandError && wrong.cause.isTransient)
      assert.include(wrong.message, "WRONGPASS")
      const shown = JSON.stringify(wrong) + String(wrong) + JSON.stringify(wrong.cause)
      assert.notInclude(shown, "canary-secret")
      const { redis } = yield* connected({ url: server.url.replace("//", "//default:right@") })
      assert.strictEqual(yield* redis.send("PING"), "PONG")
    }))
})

const ports = (servers: ReadonlyArray<{ readonly port: number }>) => servers.map(({ port }) => `127.0.0.1:${port}`)

// The value of a key in a slot that is being moved to this server.
const askedOf = (server: Server, key: string) => Effect.andThen(server.send("ASKING"), server.send("GET", key))

describeRedis("IoRedis in a cluster", () => {
  it.live("sends each key to its master, scripts to all, and hears what any node publishes", () =>
    Effect.gen(function*() {
      const { masters } = yield* redisCluster()
      const { redis } = yield* connected({ cluster: ports(masters).slice(0, 1) })
      const keys = Array.from({ length: 24 }, (_, index) => `key-${index}`)
      const sums = yield* Effect.forEach(keys, (key) => redis.eval(add)(key, 1), { concurrency: "unbounded" })
      assert.deepStrictEqual(sums, keys.map(() => 1))
      for (const master of masters) {
        assert.strictEqual(yield* master.calls("script|load"), 1)
        assert.isAbove(yield* master.calls("evalsha"), 0)
      }
      yield* masters[1]!.send("SCRIPT", "FLUSH")
      const again = yield* Effect.forEach(keys, (key) => redis.eval(add)(key, 1), { concurrency: "unbounded" })
      assert.deepStrictEqual(again, keys.map(() => 2))
      const messages = yield* redis.subscribe("c")
      const heard = new Set<number>()
      while (heard.size < masters.length) {
        // Published at most once each time, and the links between the nodes may be young.
        for (const { port, send } of masters) if (!heard.has(port)) yield* send("PUBLISH", "c", String(port))
        const message = yield* Effect.timeoutOption(Queue.take(messages), 1000)
        for (const { message: port } of [...Option.toArray(message), ...(yield* Queue.clear(messages))]) {
          heard.add(Number(port))
        }
      }
      assert.deepStrictEqual(ascending([...heard]), ascending(masters.map(({ port }) => port)))
      const error = yield* Effect.flip(redis.send("MSET", "a", "1", "b", "2"))
      assert.deepStrictEqual([kindOf(error), codeOf(error)], ["Refused", "CROSSSLOT"])
      const { send } = yield* redis.reserve
      yield* redis.send("RPUSH", "list", "x")
      assert.deepStrictEqual(yield* send("BLPOP", "list", "0"), ["list", "x"])
    }))

  it.live("follows a slot that moves, also in mid-move, and to a master that joined later", () =>
    Effect.gen(function*() {
      const cluster = yield* redisCluster()
      const { redis } = yield* connected({ cluster: ports(cluster.masters) })
      assert.strictEqual(yield* redis.eval(add)("{moving}1", 1), 1)
      const slot = yield* cluster.slotOf("{moving}1")
      const joined = yield* cluster.join
      yield* cluster.moveSlot(slot, joined)
      const sums = yield* Effect.forEach([1, 2, 3], () => redis.eval(add)("{moving}1", 1), { concurrency: 3 })
      assert.deepStrictEqual(ascending(sums), [2, 3, 4])
      assert.strictEqual(yield* joined.send("GET", "{moving}1"), "4")
      const other = yield* cluster.ownerOf(yield* cluster.slotOf("x"))
      yield* cluster.beginMove(slot, other)
      assert.strictEqual(yield* redis.eval(add)("{moving}2", 1), 1)
      assert.strictEqual(yield* redis.eval(add)("{moving}1", 1), 5)
    }))

  it.live("fails the keys of a master that is away, in time, keeps the others', and comes back", () =>
    Effect.gen(function*() {
      const cluster = yield* redisCluster({ config: { "cluster-require-full-coverage": "no" } })
      const { redis } = yield* connected({ cluster: ports(cluster.masters) })
      const messages = yield* redis.subscribe("c")
      const owned = yield* Effect.forEach(cluster.masters, (master) =>
        Effect.gen(function*() {
          for (let index = 0;; index++) {
            const owner = yield* cluster.ownerOf(yield* cluster.slotOf(`k${index}`))
            if (owner.port === master.port) return `k${index}`
          }
        }))
      const [first = "", second = ""] = owned
      yield* redis.eval(add)(first, 1)
      yield* redis.eval(add)(second, 1)
      yield* cluster.masters[1]!.kill
      for (let round = 0; round < 5; round++) {
        const began = performance.now()
        assert.include(["Disconnected", "TimedOut", "Refused"], kindOf(yield* Effect.flip(redis.eval(add)(second, 1))))
        assert.isBelow(performance.now() - began, 4000)
        assert.strictEqual(yield* redis.eval(add)(first, 1), round + 2)
      }
      yield* cluster.masters[1]!.start()
      assert.strictEqual(yield* eventually(redis.eval(add)(second, 1)), 1)
      yield* eventually(redis.send("PUBLISH", "c", "after"))
      yield* Queue.take(messages)
    }))

  it.live("comes back when the whole cluster was away; nothing was kept to be sent later", () =>
    Effect.gen(function*() {
      const cluster = yield* redisCluster({ appendonly: true })
      const { redis } = yield* connected({ cluster: ports(cluster.masters) })
      yield* redis.eval(add)("k", 1)
      for (const master of cluster.masters) yield* master.kill
      for (let round = 0; round < 20; round++) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(redis.eval(add)("k", 1))))
        yield* Effect.sleep(10)
      }
      for (const master of cluster.masters) yield* master.start()
      assert.strictEqual(yield* eventually(redis.eval(add)("k", 1)), 2)
    }))
})

describeRedis("IoRedis in a cluster behind proxies", () => {
  const behind = Effect.gen(function*() {
    const cluster = yield* redisCluster()
    const fronts = yield* Effect.forEach(cluster.masters, ({ port }) => proxy(port))
    const natMap = Object.fromEntries(
      cluster.masters.map(({ port }, index) => [`127.0.0.1:${port}`, { host: "127.0.0.1", port: fronts[index]!.port }])
    )
    return { cluster, fronts, ...(yield* connected({ cluster: ports(fronts), ioredis: { natMap } })) }
  })

  it.live("leaves no rejection behind when the connection ends between ASKING and its command's reply", () =>
    Effect.gen(function*() {
      const { cluster, fronts, redis } = yield* behind
      const slot = yield* cluster.slotOf("{asked}")
      const from = yield* cluster.ownerOf(slot)
      const to = cluster.masters.findIndex(({ port }) => port !== from.port)
      yield* cluster.beginMove(slot, cluster.masters[to]!)
      const target = fronts[to]!
      assert.strictEqual(yield* redis.eval(add)("{asked}0", 1), 1)
      for (let round = 1; round < "+OK\r\n:1\r\n".length; round++) {
        const before = target.requests("asking")
        target.cutAfter(round - 1)
        assert.strictEqual(kindOf(yield* Effect.flip(redis.eval(add)(`{asked}${round}`, 1))), "Disconnected")
        yield* target.heal()
        assert.isAbove(target.requests("asking"), before)
        assert.include([null, "1"], yield* askedOf(cluster.masters[to]!, `{asked}${round}`))
        yield* eventually(redis.eval(add)("{asked}0", 1))
      }
    }))

  it.live("does not send a command again when the cluster returns: it failed while the cluster was away", () =>
    Effect.gen(function*() {
      const { cluster, fronts, redis } = yield* behind
      const owner = yield* cluster.ownerOf(yield* cluster.slotOf("k"))
      const front = fronts[cluster.masters.findIndex(({ port }) => port === owner.port)]!
      // Connected to all: a script is loaded everywhere.
      yield* redis.eval(add)("other", 1)
      front.inject(replies.TRYAGAIN, { command: "INCR" })
      const sent = yield* Effect.forkChild(Effect.flip(redis.send("INCR", "k")), { startImmediately: true })
      yield* Effect.promise(() => until(() => "INCR is refused", async () => front.requests("incr") === 1))
      yield* Effect.forEach(fronts, (each) => each.refuse(), { concurrency: "unbounded" })
      assert.include(["Disconnected", "TimedOut"], kindOf(yield* Fiber.join(sent)))
      // Long enough for the second try that TRYAGAIN asks for to find nobody.
      yield* Effect.sleep(400)
      yield* Effect.forEach(fronts, (each) => each.heal())
      assert.strictEqual(yield* eventually(redis.send("GET", "k")), null)
      assert.strictEqual(yield* owner.calls("incr"), 0)
    }))
})

describeRedis("IoRedis behind sentinels", () => {
  it.live("finds the master, and the new one when it dies", () =>
    Effect.gen(function*() {
      const { master, name, replica, sentinel } = yield* redisSentinel()
      const { redis } = yield* connected({ sentinels: [`127.0.0.1:${sentinel.port}`], name })
      const messages = yield* redis.subscribe("c")
      yield* redis.send("SET", "k", "1")
      yield* eventuallyEqual("1", replica.send("GET", "k"))
      yield* master.kill
      assert.strictEqual(yield* eventually(redis.eval(add)("k", 1)), 2)
      assert.strictEqual(yield* replica.send("GET", "k"), "2")
      yield* eventuallyEqual(1, redis.send("PUBLISH", "c", "after"))
      assert.strictEqual((yield* Queue.take(messages)).message, "after")
    }))
})

describeRedis("IoRedis on a bad network", () => {
  const behind = (options: IoRedis.Options = {}) =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const front = yield* proxy(server.port)
      return { server, front, ...(yield* connected({ url: front.url, ...options })) }
    })

  it.live("applies a command once when its reply is cut", () =>
    Effect.gen(function*() {
      const { front, redis, server } = yield* behind()
      front.cutAfter(0)
      const error = yield* Effect.flip(redis.send("INCR", "k"))
      assert.strictEqual(kindOf(error), "Disconnected")
      assert.strictEqual(yield* eventually(redis.send("PING")), "PONG")
      assert.deepStrictEqual([yield* server.send("GET", "k"), yield* server.calls("incr")], ["1", 1])
    }))

  it.live("applies a command at most once when it times out, and hands its late reply to nobody", () =>
    Effect.gen(function*() {
      const { front, redis, server } = yield* behind({ commandTimeout: 100 })
      front.delay(300)
      assert.strictEqual(kindOf(yield* Effect.flip(redis.send("INCR", "k"))), "TimedOut")
      yield* front.heal()
      assert.strictEqual(yield* eventually(redis.send("ECHO", "mine")), "mine")
      assert.strictEqual(yield* server.calls("incr"), 1)
      assert.strictEqual(front.accepted(), 1)
    }))

  it.live(
    "gives up a half-open connection, also one that only listens",
    () =>
      Effect.gen(function*() {
        const { front, redis } = yield* behind({ commandTimeout: 100 })
        const messages = yield* redis.subscribe("c")
        front.halfOpen()
        assert.strictEqual(kindOf(yield* Effect.flip(redis.send("PING"))), "TimedOut")
        assert.strictEqual(yield* eventually(redis.send("PING")), "PONG")
        yield* eventuallyEqual(1, redis.send("PUBLISH", "c", "after"))
        assert.strictEqual((yield* Queue.take(messages)).message, "after")
      })
  )

  it.live("keeps nothing to send while the connection is away", () =>
    Effect.gen(function*() {
      const { front, redis, server } = yield* behind()
      yield* front.refuse()
      yield* Effect.exit(redis.send("INCR", "k"))
      for (let left = 20; left > 0; left--) {
        assert.strictEqual(kindOf(yield* Effect.flip(redis.send("INCR", "k"))), "Unreachable")
      }
      yield* front.heal()
      yield* eventually(redis.send("PING"))
      assert.isAtMost(yield* server.calls("incr"), 1)
    }))

  it.live("reconnects on READONLY and stays on LOADING", () =>
    Effect.gen(function*() {
      const { front, redis } = yield* behind()
      front.inject(replies.LOADING, { command: "SET" })
      assert.strictEqual(codeOf(yield* Effect.flip(redis.send("SET", "k", "1"))), "LOADING")
      assert.strictEqual(yield* redis.send("SET", "k", "1"), "OK")
      assert.strictEqual(front.accepted(), 1)
      front.inject(replies.READONLY, { command: "SET" })
      assert.strictEqual(codeOf(yield* Effect.flip(redis.send("SET", "k", "1"))), "READONLY")
      assert.strictEqual(yield* eventually(redis.send("SET", "k", "2")), "OK")
      assert.strictEqual(front.accepted(), 2)
    }))

  it.live("adds no listeners from one reconnect to the next", () =>
    Effect.gen(function*() {
      const { client, front, redis } = yield* behind()
      const listeners = () =>
        new Map(client.eventNames().map((name) => [String(name), client.listenerCount(name)] as const))
      const before = listeners()
      for (let round = 0; round < 12; round++) {
        front.cut()
        yield* Effect.exit(redis.send("PING"))
        yield* eventually(redis.send("PING"))
      }
      assert.deepStrictEqual(listeners(), before)
    }))
})

describe("IoRedis options", () => {
  const cases: ReadonlyArray<readonly [options: IoRedis.Options, says: RegExp]> = [
    [{ url: "http://x" }, /url is http:\/\/x; it must be redis:/],
    [{ url: "redis://user:secret@h:99999" }, /url is redis:\/\/\*\*\*@h:99999/],
    [{ url: "redis://h/one" }, /url is/],
    [{ uri: "redis://h" } as never, /an option is uri; it must be one of url, host/],
    [{ connect: "later" as never }, /connect is later; it must be "now" or/],
    [{ port: 0 }, /port is 0; it must be a port/],
    [{ port: Number.NaN }, /port is NaN/],
    [{ host: "a", cluster: ["b"] }, /the target is cluster and url or host; it must be one of/],
    [{ cluster: [] }, /cluster is empty/],
    [{ cluster: ["a:b:c"] }, /cluster is a:b:c; it must be host:port/],
    [{ cluster: ["a"], database: 1 }, /database is 1; it must be 0/],
    [{ database: -1 }, /database is -1/],
    [{ sentinels: ["a"] }, /name is undefined/],
    [{ commandTimeout: 0 }, /commandTimeout is 0; it must be a duration/],
    [{ commandTimeout: Number.POSITIVE_INFINITY }, /commandTimeout is Infinity/],
    [{ connectTimeout: -1 }, /connectTimeout is -1/]
  ]

  it.effect.each(cases)("%j dies, naming the value", ([options, says]) =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Layer.build(IoRedis.layer(options)))
      assert.isTrue(Exit.hasDies(exit))
      assert.match(String(exit), says)
      assert.notInclude(String(exit), "secret")
    }))

  const fromEnvironment = (values: Record<string, string>, options: IoRedis.Options = {}) =>
    Layer.build(IoRedis.layerConfig({ connect: "background", ...options })).pipe(
      Effect.map((context) => Context.get(context, IoRedis.IoRedisClient).client),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(values))
    )

  it.effect("are read from the environment: a URL, a login, sentinels, a cluster; what is given wins", () =>
    Effect.gen(function*() {
      const url = yield* fromEnvironment({ REDIS_URL: "rediss://me:a%2Fb@127.0.0.1:1/2" })
      const { db, host, password, port, tls, username } = url.options as Record<string, unknown>
      assert.deepStrictEqual({ db, host, password, port, tls, username }, {
        db: 2,
        host: "127.0.0.1",
        password: "a/b",
        port: 1,
        tls: {},
        username: "me"
      })
      const login = yield* fromEnvironment(
        { REDIS_URL: "redis://127.0.0.1:1", REDIS_PASSWORD: "p" },
        { host: "127.0.0.2", port: 2 }
      )
      assert.deepInclude(login.options, { host: "127.0.0.2", port: 2, password: "p" })
      const sentinel = yield* fromEnvironment({ REDIS_SENTINELS: "127.0.0.1:1, 127.0.0.1" })
      assert.deepInclude(sentinel.options, {
        name: "mymaster",
        sentinels: [{ host: "127.0.0.1", port: 1 }, { host: "127.0.0.1", port: 26_379 }]
      })
      const cluster = yield* fromEnvironment({ REDIS_CLUSTER: "[::1]:1", REDIS_URL: "redis://127.0.0.1:1" })
      assert.isTrue(cluster.isCluster)
    }))

  it.effect("of the environment that make no URL are a ConfigError, which does not show them", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(fromEnvironment({ REDIS_URL: "localhost:6379:canary" }))
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(String(error), "REDIS_URL is not redis://")
      assert.notInclude(String(error), "canary")
    }))
})

describeRedis("a program whose Redis dies", () => {
  it.live("ends by itself after closing, under --unhandled-rejections=strict, with nothing on stderr", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const child = start(process.execPath, [
        "--unhandled-rejections=strict",
        join(import.meta.dirname, "..", "faults", "programs", "redisGone.ts"),
        String(server.port)
      ])
      yield* Effect.addFinalizer(() => Effect.promise(child.kill))
      yield* Effect.promise(() => until(child.output, async () => child.output().startsWith("ready\nready\nready\n")))
      yield* server.kill
      yield* Effect.promise(() => until(child.output, async () => child.output().includes("closed")))
      const closed = performance.now()
      yield* Effect.promise(() => child.ended)
      // Without a timer or socket left a process ends within milliseconds; a forgotten one would hold it for a second or more.
      assert.isBelow(performance.now() - closed, 900)
      assert.strictEqual(child.output(), "ready\nready\nready\nclosed\n")
      assert.strictEqual(child.process.exitCode, 0)
    }))
})
