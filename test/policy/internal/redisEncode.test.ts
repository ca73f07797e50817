import { assert, describe, it } from "@effect/vitest"
import * as Encode from "../../../src/policy/internal/redisEncode.ts"
import { escape, tagOf } from "../../../src/policy/internal/redisKeys.ts"
import * as Lane from "../../../src/policy/internal/redisLane.ts"
import * as Scripts from "../../../src/policy/internal/redisScripts.ts"
import { fixedWindow, permits, slidingWindow, tokenBucket } from "../../../src/policy/Limiter.ts"
import { random } from "../../random.ts"
import { head, limit } from "../store.ts"

const tag = tagOf("p", "n")
const hostile = ["", "}{", "a}b", "\n", "\0", "\"]],[[", "\ud800", "x".repeat(10_000), "tenant/{x}"]
const rules = [
  tokenBucket({ capacity: 3, refill: 0.5, every: "1 second" }),
  slidingWindow({ limit: 3, window: "1 second" }),
  slidingWindow({ limit: 3, window: "1 second", unit: "tokens" }),
  fixedWindow({ limit: 3, window: "1 second" }),
  permits(3)
]

describe("redisEncode", () => {
  it("the scripts' time and the store's are each other's, to the microsecond, until 2100", () => {
    const r = random(4)
    for (let i = 0; i < 10_000; i++) {
      const time = r.int(0, 74 * 366 * 86_400 * 1e6)
      assert.strictEqual(Encode.toMicros(Encode.fromMicros(time)), time)
    }
  })

  it("every key of a script is under the tag, once, and the JSON is JSON, whatever the names", () => {
    for (const name of hostile) {
      const limits = rules.flatMap((rule) => [limit(name, rule), limit(`tenant/${name}`, rule, `tenant/${name}`)])
      const lane = Lane.prepareLane(tag, name, limits, name)
      const ask = { lane, heads: [{ ...head(), id: name }], waiting: 1 }
      const grant = { lane, head: ask.heads[0]!, grantedAt: 0 }
      const scripts = [
        Encode.encodeAsks(tag, [ask]),
        Encode.encodeAsks(tag, [ask, { ...ask, lane: Lane.prepareLane(tag, `${name}2`, limits, name) }]),
        Encode.encodeBacks(tag, "channel", lane.prepared.map((prepared) => ({ prepared, amount: 1, grant }))),
        Encode.encodeLeases(tag, lane.prepared.map((prepared) => ({ prepared, amount: 1, id: name, ends: 0 }))),
        Encode.encodeLimits(tag, limits),
        Encode.encodeSignal(tag, "channel", limits[0]!, { congested: true, grantedAt: 0 })
      ]
      for (const { args, keys } of scripts) {
        assert.strictEqual(keys[0], tag)
        assert.strictEqual(new Set(keys).size, keys.length)
        assert.isTrue(keys.every((key) => key.startsWith(tag) && !/[{}]/.test(key.slice(tag.length))))
        assert.isAbove(keys.length, 0)
        assert.match(args[0]!, /^[\x20-\x7e]*$/)
        assert.isArray(JSON.parse(args[0]!))
      }
    }
  })

  it("a tenant's limits have a hash of their own; configured ones share the limiter's", () => {
    const hashes = (key: string, group: string) => Lane.prepareLimit(tag, limit(key, rules[0]!, group)).hash
    assert.strictEqual(hashes("global/0", "global"), tag)
    assert.strictEqual(hashes("service/x/0", "service/x"), tag)
    assert.notStrictEqual(hashes("tenant/a/0", "tenant/a"), tag)
    assert.strictEqual(hashes("tenant/a/0", "tenant/a"), hashes("tenant/a/1", "tenant/a"))
    assert.notStrictEqual(hashes("tenant/a/0", "tenant/a"), hashes("tenant/b/0", "tenant/b"))
  })

  it("one key with two rules is two limits", () => {
    const fields = [...rules, tokenBucket({ capacity: 4, refill: 0.5, every: "1 second" })]
      .map((rule) => Lane.prepareLimit(tag, limit("one", rule)).middle)
    assert.strictEqual(new Set(fields).size, fields.length)
  })

  it("a batch names each limit and key once, however many lanes need it", () => {
    const shared = limit("global/0", rules[1]!)
    const lane = (name: string) => Lane.prepareLane(tag, name, [shared, limit(name, rules[4]!)], "owner")
    const { args, keys } = Encode.encodeAsks(
      tag,
      ["a", "b", "a"].map((name) => ({ lane: lane(name), heads: [head(2, 7)], waiting: 5 }))
    )
    const [limits, asks] = JSON.parse(args[0]!)
    assert.lengthOf(limits, 3)
    assert.lengthOf(keys, 4)
    assert.deepStrictEqual(asks.map((ask: ReadonlyArray<unknown>) => ask[0]), [[1, 2], [1, 3], [1, 2]])
    assert.deepStrictEqual(asks[0].slice(3, 5), ["owner", 5])
    assert.deepStrictEqual(asks[0][5].slice(1), [2, 7])
  })

  it("reads answers, and nothing else", () => {
    const decoded = Encode.decodeAnswers([0, 2, -1, 1, 3, 500, 1, 1500, 0, 0, -1], 2)!
    assert.deepStrictEqual(decoded.answers, [
      { granted: 2, grantedAt: 1_767_225_600_000, waitMillis: Number.POSITIVE_INFINITY, blockedBy: 1, waiting: 3 },
      { granted: 1, grantedAt: 1_767_225_600_000, waitMillis: 1.5, blockedBy: 0, waiting: 0 }
    ])
    assert.deepStrictEqual(decoded.leaseEnds, [0.5, -1])
    for (const reply of [undefined, null, "OK", [], [1], ["1", 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1]]) {
      assert.isUndefined(Encode.decodeAnswers(reply, 1))
      assert.isUndefined(Encode.decodeLeases(reply, 4))
    }
    assert.isUndefined(Encode.decodeStates([["1"]], [limit("a", rules[0]!), limit("b", rules[0]!)]))
    assert.isUndefined(Encode.decodeStates(["1"], [limit("a", rules[0]!)]))
  })

  it("reads the keys of a message back, and a message of someone else as none", () => {
    assert.deepStrictEqual(Encode.decodeFreed(JSON.stringify(hostile.map(escape))), hostile)
    for (const message of ["", "x", "{}", "null", "1", "[1]"]) assert.deepStrictEqual(Encode.decodeFreed(message), [])
  })

  it("knows the type of every key", () => {
    const types = [...rules, { _tag: "Adaptive", unit: "calls" } as const].map((rule) => {
      const { structure } = Lane.prepareLimit(tag, limit("one", rule))
      return structure === undefined ? undefined : Encode.typeOf(tag, structure)
    })
    assert.deepStrictEqual(types, [undefined, "list", "hash", undefined, "zset", undefined])
    assert.strictEqual(Encode.typeOf(tag, tag), "hash")
    assert.strictEqual(
      Encode.typeOf(tag, Lane.prepareLimit(tag, limit("tenant/p", rules[0]!, "tenant/p")).hash),
      "hash"
    )
  })

  it("a script touches no key that it does not declare", () => {
    const fast = rules.map((rule) =>
      Lane.prepareLane(tag, "lane", [limit("tenant/x", rule, "tenant/x")], "o").alone.script
    )
    const whole = [Scripts.ask, Scripts.change, Scripts.release, Scripts.renew, Scripts.peek, Scripts.feedback]
    const scripts = [...whole, ...fast.filter((script) => script !== undefined)]
    assert.lengthOf(scripts, 9)
    for (const lua of scripts) {
      const calls = [...lua.matchAll(/(?:call|each)\('(\w+)'(?:, ([^,)]+))?/g)]
      assert.isAbove(calls.length, 2)
      for (const [text, command, first] of calls) {
        if (command === "TIME" || command === "PUBLISH") continue
        assert.match(first!, /^(KEYS\[|key$)/, text)
      }
      for (const [text, value] of lua.matchAll(/\bkey(?:, found)? = (.+)$|, key = (.+)$/gm)) {
        assert.match(value ?? text, /KEYS\[l\[4\]\]/, text)
      }
      assert.notMatch(lua, /call\([^'c]/, "a command that is not a constant")
    }
  })
})
