import { assert, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { proxy, replies } from "./proxy.ts"
import { describeRedis, redisCluster, redisSentinel, RedisServer, redisServer } from "./redis.ts"
import { until } from "./redis/process.ts"
import { plain, ReplyError } from "./redis/resp.ts"

const lives = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

const connected = (port: number) =>
  Effect.acquireRelease(Effect.promise(() => plain(port)), ({ close }) => Effect.sync(close))

const rejection = (promise: Promise<unknown>): Effect.Effect<unknown> =>
  Effect.promise(() => promise.then((value) => ({ value }), (error: unknown) => error))

describeRedis("a real redis-server for tests", () => {
  layer(RedisServer.layer())("shared by a file", (it) => {
    it.effect("answers, counts its calls, and reads its own errors", () =>
      Effect.gen(function*() {
        const server = yield* RedisServer
        assert.strictEqual(yield* server.send("SET", "ключ", "значение\r\n"), "OK")
        assert.strictEqual(yield* server.send("GET", "ключ"), "значение\r\n")
        assert.strictEqual(yield* server.calls("get"), 1)
        assert.strictEqual(yield* server.calls("hget"), 0)
        const exit = yield* Effect.exit(server.send("LPUSH", "ключ", "1"))
        assert.include(String(exit), "WRONGTYPE")
        assert.match(String(yield* server.info("redis_version")), /^\d+\./)
      }))
  })

  it.effect("loses its data at a restart, and keeps it with appendonly", () =>
    Effect.gen(function*() {
      for (
        const [appendonly, keepData, left] of [[false, true, null], [true, true, "1"], [true, false, null]] as const
      ) {
        const server = yield* redisServer({ appendonly })
        yield* server.send("SET", "k", "1")
        yield* server.kill
        assert.instanceOf(yield* rejection(plain(server.port)), Error)
        yield* server.start({ keepData })
        assert.strictEqual(yield* server.send("GET", "k"), left)
      }
    }))

  it.effect("is silent while it is frozen", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const { send } = yield* connected(server.port)
      yield* server.freeze
      let answered = false
      const ping = send("PING").then((reply) => (answered = true, reply))
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))
      assert.isFalse(answered)
      yield* server.thaw
      assert.strictEqual(yield* Effect.promise(() => ping), "PONG")
    }))

  it.effect("forms a cluster of three, moves slots and takes in a fourth", () =>
    Effect.gen(function*() {
      const cluster = yield* redisCluster()
      const slot = yield* cluster.slotOf("{a}1")
      const owner = yield* cluster.ownerOf(slot)
      yield* owner.send("SET", "{a}1", "x")
      const joined = yield* cluster.join
      yield* cluster.moveSlot(slot, joined)
      assert.strictEqual((yield* cluster.ownerOf(slot)).port, joined.port)
      assert.strictEqual(yield* joined.send("GET", "{a}1"), "x")
      const { send } = yield* connected(owner.port)
      assert.include(String(yield* rejection(send("GET", "{a}1"))), `MOVED ${slot} 127.0.0.1:${joined.port}`)
      yield* cluster.beginMove(slot, owner)
      const second = yield* connected(joined.port)
      assert.include(String(yield* rejection(second.send("GET", "{a}2"))), `ASK ${slot} 127.0.0.1:${owner.port}`)
    }))

  it.effect("fails over to its replica when a sentinel watches", () =>
    Effect.gen(function*() {
      const { master, name, replica, sentinel } = yield* redisSentinel()
      assert.deepStrictEqual(yield* sentinel.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name), [
        "127.0.0.1",
        String(master.port)
      ])
      yield* master.kill
      yield* Effect.promise(() =>
        until(() => "the replica is the master", async () => {
          const [, port] = await Effect.runPromise(
            sentinel.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
          ) as ReadonlyArray<string>
          return port === String(replica.port)
        })
      )
      assert.strictEqual(yield* replica.info("role"), "master")
    }))

  it("does not outlive the tests, nor do its files", { timeout: 30_000 }, async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "redis", "programs", "leaves.ts")])
    const [pid, folder] = await new Promise<readonly [number, string]>((resolve, reject) => {
      let output = ""
      let errors = ""
      child.stderr.on("data", (chunk) => (errors += String(chunk)))
      child.stdout.on("data", (chunk) => {
        output += String(chunk)
        const found = /^(\d+) (.*)\n/.exec(output)
        if (found !== null) resolve([Number(found[1]), found[2]!])
      })
      child.on("exit", () => reject(new Error(`it ended by itself: ${errors}`)))
    })
    assert.isTrue(lives(pid) && existsSync(folder))
    child.removeAllListeners("exit")
    child.kill("SIGKILL")
    await until(() => `process ${pid} and ${folder} are gone`, async () => !lives(pid) && !existsSync(folder))
  })
})

describeRedis("a proxy before a server", () => {
  const behind = Effect.gen(function*() {
    const server = yield* redisServer()
    const front = yield* proxy(server.port)
    return { server, front, client: yield* connected(front.port) }
  })

  it.effect("passes everything on and counts the requests", () =>
    Effect.gen(function*() {
      const { client, front } = yield* behind
      const large = "x".repeat(300_000)
      assert.strictEqual(yield* Effect.promise(() => client.send("SET", "k", large)), "OK")
      assert.strictEqual(yield* Effect.promise(() => client.send("GET", "k")), large)
      assert.deepStrictEqual([front.requests("get"), front.requests(), front.connections()], [1, 2, 1])
    }))

  it.effect("cuts a reply after any byte, once", () =>
    Effect.gen(function*() {
      const { front, server } = yield* behind
      for (let byte = 0; byte < 7; byte++) {
        const { send } = yield* connected(front.port)
        front.cutAfter(byte)
        assert.include(String(yield* rejection(send("ECHO", "a"))), "closed")
        const again = yield* connected(front.port)
        assert.strictEqual(yield* Effect.promise(() => again.send("ECHO", "a")), "a")
      }
      assert.strictEqual(yield* server.calls("echo"), 14)
    }))

  it.effect("cuts and refuses, until healed", () =>
    Effect.gen(function*() {
      const { client, front } = yield* behind
      const lost = rejection(client.send("BLPOP", "none", "0"))
      front.cut()
      assert.instanceOf(yield* lost, Error)
      yield* front.refuse()
      assert.include(String(yield* rejection(plain(front.port))), "ECONNREFUSED")
      yield* front.heal()
      const again = yield* connected(front.port)
      assert.strictEqual(yield* Effect.promise(() => again.send("PING")), "PONG")
    }))

  it.effect("delays replies by at least what it says, in their order", () =>
    Effect.gen(function*() {
      const { client, front } = yield* behind
      front.delay(60)
      const began = performance.now()
      const ended: Array<string> = []
      yield* Effect.promise(() =>
        Promise.all(["1", "2", "3"].map((word) => client.send("ECHO", word).then(() => ended.push(word))))
      )
      assert.isAtLeast(performance.now() - began, 59)
      assert.deepStrictEqual(ended, ["1", "2", "3"])
    }))

  it.effect("holds everything in a blackhole and delivers it when healed; a half-open connection stays silent", () =>
    Effect.gen(function*() {
      const { client, front, server } = yield* behind
      front.blackhole()
      let answered = 0
      const held = client.send("INCR", "k").then(() => answered++)
      const forgotten = yield* connected(front.port)
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))
      assert.deepStrictEqual([answered, yield* server.send("GET", "k")], [0, null])
      yield* front.heal()
      yield* Effect.promise(() => held)
      assert.strictEqual(yield* server.send("GET", "k"), "1")
      front.halfOpen()
      forgotten.send("INCR", "k").then(() => answered++, () => answered++)
      const fresh = yield* connected(front.port)
      yield* Effect.promise(() => fresh.send("PING"))
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))
      assert.deepStrictEqual([answered, yield* server.send("GET", "k")], [1, "1"])
    }))

  it.effect("answers in the server's place, in the place of the request", () =>
    Effect.gen(function*() {
      const { client, front, server } = yield* behind
      front.inject(replies.OOM, { command: "set", times: 2 })
      const outcomes = yield* Effect.promise(() =>
        Promise.allSettled([
          client.send("ECHO", "a"),
          client.send("SET", "k", "1"),
          client.send("ECHO", "b"),
          client.send("SET", "k", "2"),
          client.send("SET", "k", "3")
        ])
      )
      assert.deepStrictEqual(
        outcomes.map((each) =>
          each.status === "fulfilled"
            ? each.value
            : each.reason instanceof ReplyError && each.reason.message.slice(0, 3)
        ),
        ["a", "OOM", "b", "OOM", "OK"]
      )
      assert.strictEqual(yield* server.send("GET", "k"), "3")
      assert.strictEqual(yield* server.calls("set"), 1)
    }))
})
