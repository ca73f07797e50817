import { assert, describe, it } from "@effect/vitest"
import { Tool, Toolkit } from "effect/ai"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Executor, Limiter, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestLimiter, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import { Steps } from "../policy/steps.ts"
import { settle, statuses } from "../stage.ts"

const google: Limiter.Request = { service: "google" }

/** A request that notes its name when it is admitted, and ends when the test says so. */
const asking = () => {
  const log: Array<string> = []
  const ends = new Map<string, Deferred.Deferred<void>>()
  const ask = (name: string, request: Limiter.Request = google) => {
    const end = Deferred.makeUnsafe<void>()
    ends.set(name, end)
    return Limiter.withAdmission(request)(
      Effect.andThen(Effect.sync(() => log.push(name)), Deferred.await(end))
    ).pipe(
      Effect.catch((rejected) => Effect.sync(() => log.push(`${name} ${rejected.reason}`))),
      Effect.forkChild({ startImmediately: true })
    )
  }
  const end = (name: string) => Effect.andThen(Deferred.succeed(ends.get(name)!, undefined), settle)
  return { log, ask, end }
}

const statusesOf = Effect.map(TestLimiter.admissions, (all) => all.map(({ status }) => status))

/** A caller's place, as the engine passes one; `taken` says how many have it. */
const makeGate = (places: number) => {
  const flow = {}
  const waits: Array<() => void> = []
  const state = { taken: 0, places, released: 0 }
  const gate = (): Limiter.Gate => {
    let mine = false
    return {
      flow,
      tryTake: () => {
        if (mine) return true
        if (state.taken >= state.places) return false
        state.taken++
        return mine = true
      },
      release: () => {
        if (!mine) return
        state.taken--
        state.released++
        mine = false
      },
      onFree: (wake) => void waits.push(wake)
    }
  }
  const free = (more: number) =>
    Effect.andThen(
      Effect.sync(() => {
        state.places += more
        for (const wake of waits.splice(0)) wake()
      }),
      settle
    )
  return { gate, free, state }
}

const dyingOf = (make: () => unknown): string => {
  try {
    make()
  } catch (error) {
    return (error as Error).message
  }
  return "it did not die"
}

describe("TestLimiter.layer", () => {
  it.effect("hands out permits in the order of asking, and gives back what ends, however it ends", () => {
    const { ask, end, log } = asking()
    return Effect.gen(function*() {
      const fibers = [yield* ask("a"), yield* ask("b"), yield* ask("c"), yield* ask("d")]
      assert.deepStrictEqual(log, ["a"])
      yield* end("a")
      assert.deepStrictEqual(log, ["a", "b"])
      yield* Fiber.interrupt(fibers[1]!)
      yield* settle
      assert.deepStrictEqual(log, ["a", "b", "c"])
      yield* end("c")
      assert.deepStrictEqual(log, ["a", "b", "c", "d"])
      yield* end("d")
      const admit = Limiter.withAdmission(google)
      yield* Effect.exit(admit(Effect.fail("no")))
      yield* Effect.exit(admit(Effect.die("no")))
      yield* Effect.exit(admit((): Effect.Effect<never> => {
        throw new Error("no")
      }))
      assert.strictEqual(yield* admit(Effect.succeed(1)), 1)
      assert.deepStrictEqual(yield* statusesOf, Array.from({ length: 8 }, () => "released"))
      assert.strictEqual(yield* TestLimiter.mostHeld, 1)
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 1 } })))
  })

  it.effect("lets any number pass of services that have no permits, and without a service", () => {
    const { ask, log } = asking()
    return Effect.gen(function*() {
      yield* ask("google")
      for (let i = 0; i < 20; i++) yield* ask(`${i}`, i % 2 === 0 ? {} : { service: "other" })
      assert.lengthOf(log, 20)
      assert.lengthOf(yield* TestLimiter.held, 20)
      assert.deepStrictEqual((yield* TestLimiter.waiting).map(({ service }) => service), ["google"])
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 0 } })))
  })

  it.effect("passes a higher priority first, and counts a request's calls", () => {
    const { ask, end, log } = asking()
    return Effect.gen(function*() {
      yield* ask("first", { service: "google", calls: 2 })
      yield* ask("low", { service: "google", priority: -1 })
      yield* ask("both", { service: "google", calls: 2 })
      yield* ask("one")
      yield* ask("high", { service: "google", priority: 1, calls: 2 })
      assert.deepStrictEqual(log, ["first"])
      for (const name of ["first", "high", "both"]) yield* end(name)
      assert.deepStrictEqual(log, ["first", "high", "both", "one", "low"], "nobody overtakes who waits for two")
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 2 } })))
  })

  it.effect("lets nobody overtake one that waits for two permits, although one is free", () => {
    const { ask, end, log } = asking()
    return Effect.gen(function*() {
      for (const name of ["first", "second"]) yield* ask(name)
      yield* ask("both", { service: "google", calls: 2 })
      yield* ask("one")
      for (const name of ["first", "second", "both"]) yield* end(name)
      assert.deepStrictEqual(log, ["first", "second", "both", "one"])
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 2 } })))
  })

  it.effect("starts who may start when the test allows more, and takes nothing away when it allows less", () => {
    const { ask, end, log } = asking()
    return Effect.gen(function*() {
      for (const name of ["a", "b", "c", "d"]) yield* ask(name)
      assert.deepStrictEqual(log, [])
      yield* TestLimiter.allow("google", 2)
      assert.deepStrictEqual(log, ["a", "b"])
      yield* TestLimiter.allow("google", 1)
      yield* end("a")
      assert.deepStrictEqual(log, ["a", "b"])
      yield* end("b")
      assert.deepStrictEqual(log, ["a", "b", "c"])
      yield* Limiter.add("google", Limiter.permits(5))
      assert.deepStrictEqual(log, ["a", "b", "c"], "a rule that is added allows no more than there was")
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 0 } })))
  })

  it.effect("keeps no rule but permits", () =>
    Effect.gen(function*() {
      const { ask, log } = asking()
      yield* Limiter.add("google", Limiter.permits(1))
      yield* ask("a")
      yield* ask("b")
      assert.deepStrictEqual(log, ["a"])
      const exit = yield* Effect.exit(Limiter.add("google", Limiter.slidingWindow({ limit: 1, window: 1 })))
      assert.include(String(exit), "TestLimiter: it holds permits only, and cannot keep a SlidingWindow")
    }).pipe(Effect.provide(TestLimiter.layer())))

  it.effect("lets a speculative request pass now or rejects it, and never before one that waits", () => {
    const { ask, end, log } = asking()
    const guess = { service: "google", speculative: true }
    return Effect.gen(function*() {
      yield* ask("guess", guess)
      yield* ask("late guess", guess)
      yield* ask("large", { service: "google", calls: 2 })
      yield* TestLimiter.allow("google", 2)
      yield* ask("small guess", guess)
      assert.deepStrictEqual(log, ["guess", "late guess Exceeded", "small guess Exceeded"])
      yield* end("guess")
      assert.strictEqual(log.at(-1), "large")
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 1 } })))
  })

  it.effect("rejects a request that has waited for its maxWait, and leaves no timer of others", () => {
    const { ask, end, log } = asking()
    return Effect.gen(function*() {
      yield* ask("held")
      yield* ask("short", { service: "google", maxWait: "2 seconds" })
      yield* ask("long", { service: "google", maxWait: "5 seconds" })
      yield* ask("none", { service: "google", maxWait: 0 })
      yield* settle
      assert.deepStrictEqual(log, ["held", "none MaxWait"])
      yield* TestClock.adjust("1999 millis")
      assert.lengthOf(log, 2)
      yield* TestClock.adjust(1)
      assert.strictEqual(log.at(-1), "short MaxWait")
      yield* end("held")
      assert.strictEqual(log.at(-1), "long")
      yield* TestClock.adjust("1 hour")
      assert.lengthOf(log, 4)
      const [, short] = yield* TestLimiter.admissions
      assert.deepInclude(short, { status: "rejected", admittedAt: undefined, releasedAt: undefined })
      assert.strictEqual(
        short?.rejected?.message,
        "TestLimiter, service \"google\": it may wait 2000 ms (maxWait)"
      )
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 1 } })))
  })

  it.effect("rejects requests that make no sense, naming the value", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [Limiter.Request, string]> = [
        [{ calls: 0 }, "calls is 0; it must be an integer of at least 1"],
        [{ tokens: 1.5 }, "tokens is 1.5; it must be an integer of at least 1"],
        [{ maxWait: NaN }, "maxWait is NaN; it must be a duration of at least 0"],
        [{ maxWait: -1 }, "maxWait is -1; it must be a duration of at least 0"]
      ]
      for (const [request, message] of cases) {
        const { limit, message: said, reason } = yield* Effect.flip(Limiter.withAdmission(request)(Effect.void))
        assert.deepStrictEqual([reason, limit, said], ["InvalidRequest", "", message])
      }
    }).pipe(Effect.provide(TestLimiter.layer())))

  it.effect("tells a lease how long it waited, takes its settlements, and never says it is lost", () =>
    Effect.gen(function*() {
      const { ask, end } = asking()
      yield* ask("first")
      const second = yield* Limiter.withAdmission({ service: "google", tokens: 90 })((lease) =>
        Effect.gen(function*() {
          yield* lease.settle({ tokens: 50 })
          yield* lease.settle({ tokens: 20 })
          const isLost = yield* Effect.raceFirst(Effect.as(lease.lost, true), Effect.as(Effect.yieldNow, false))
          return [lease.waitedMillis, isLost, yield* Effect.exit(lease.settle({ tokens: -1 }))] as const
        })
      ).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("3 seconds")
      yield* end("first")
      const [waited, isLost, bad] = yield* Fiber.join(second)
      assert.deepStrictEqual([waited, isLost], [3000, false])
      assert.include(String(bad), "Lease.settle: tokens is -1; it must be an integer of at least 0")
      assert.deepStrictEqual(yield* TestLimiter.settled, [50, 20])
      assert.deepInclude((yield* TestLimiter.admissions)[1], {
        service: "google",
        tokens: 90,
        calls: 1,
        priority: 0,
        nth: 2,
        requestedAt: 0,
        admittedAt: 3000,
        releasedAt: 3000,
        settled: 20,
        rejected: undefined
      })
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 1 } }))))

  it.effect("rejects whoever waits when it is closed, and whoever comes later", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(TestLimiter.layer({ permits: { google: 1 } }), scope)
      const { ask, log } = asking()
      yield* Effect.provide(
        Effect.gen(function*() {
          for (const name of ["a", "b", "c"]) yield* ask(name)
          yield* Scope.close(scope, Exit.void)
          yield* ask("d")
          assert.deepStrictEqual(log, ["a", "b StoreUnavailable", "c StoreUnavailable", "d StoreUnavailable"])
        }),
        context
      )
    }))

  it.effect("begins anew with each build", () =>
    Effect.gen(function*() {
      const layer = TestLimiter.layer({ reject: TestLimiter.nth("google", 2) })
      const once = Effect.andThen(Limiter.withAdmission(google)(Effect.void), TestLimiter.admissions)
      for (let i = 0; i < 2; i++) assert.lengthOf(yield* Effect.provide(once, layer, { local: true }), 1)
    }))

  it.effect("of makeUnsafe is one for all builds, and is read without the layer", () =>
    Effect.gen(function*() {
      const limits = TestLimiter.makeUnsafe({ permits: { google: 1 } })
      for (let i = 0; i < 2; i++) {
        yield* Effect.provide(Limiter.withAdmission(google)(Effect.void), limits.layer, { local: true })
      }
      assert.deepStrictEqual(limits.admissions.map(({ nth, status }) => [nth, status]), [[1, "released"], [
        2,
        "released"
      ]])
      assert.deepStrictEqual([limits.held, limits.waiting, limits.settled, limits.mostHeld], [[], [], [], 1])
    }))
})

describe("TestLimiter: the script", () => {
  it.effect("rejects the nth request of a service, with the wait it says", () =>
    Effect.gen(function*() {
      const call = (service: string) => Effect.exit(Limiter.withAdmission({ service })(Effect.void))
      yield* call("google")
      yield* call("maps")
      const rejected = yield* Effect.flip(Effect.flatten(call("google")))
      assert.deepStrictEqual(
        [rejected.reason, rejected.retryAfterMillis, rejected.limit, rejected.message],
        [
          "Exceeded",
          2000,
          "TestLimiter, service \"google\"",
          "TestLimiter, service \"google\": request 2 is rejected by the test"
        ]
      )
      yield* call("google")
      yield* call("maps")
      assert.deepStrictEqual(yield* statusesOf, ["released", "released", "rejected", "released", "rejected"])
      const [, , first, , second] = yield* TestLimiter.admissions
      assert.strictEqual(first?.rejected, rejected)
      assert.deepStrictEqual(
        [second?.rejected?.reason, second?.rejected?.message, second?.rejected?.retryAfterMillis],
        ["RateLimited", "no more maps", undefined]
      )
    }).pipe(Effect.provide(TestLimiter.layer({
      reject: [
        TestLimiter.nth("google", 2, { retryAfter: "2 seconds" }),
        TestLimiter.nth("maps", 2, { reason: "RateLimited", message: "no more maps" })
      ]
    }))))

  it.effect("rejects what a function says, as the error it gives", () => {
    const rejected = new Limiter.Rejected({ reason: "OverCapacity", limit: "budget", message: "too dear" })
    return Effect.gen(function*() {
      yield* Limiter.withAdmission({ tokens: 10 })(Effect.void)
      assert.strictEqual(yield* Effect.flip(Limiter.withAdmission({ tokens: 11 })(Effect.void)), rejected)
    }).pipe(Effect.provide(TestLimiter.layer({ reject: ({ tokens = 0 }) => tokens > 10 ? rejected : undefined })))
  })

  it.effect("delays a request, and others pass it meanwhile; what may not wait is rejected", () => {
    const { ask, log } = asking()
    return Effect.gen(function*() {
      yield* ask("slow")
      yield* ask("quick", { service: "google", priority: 1 })
      yield* ask("guess", { service: "google", speculative: true })
      assert.deepStrictEqual(log, ["quick", "guess Exceeded"])
      yield* TestClock.adjust("4999 millis")
      assert.lengthOf(log, 2)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(log, ["quick", "guess Exceeded", "slow"])
      assert.deepInclude((yield* TestLimiter.admissions)[0], { requestedAt: 0, admittedAt: 5000 })
    }).pipe(Effect.provide(TestLimiter.layer({ delay: ({ priority = 0 }) => priority > 0 ? undefined : "5 seconds" })))
  })

  it.effect("reaches the model: a call is Rejected, with the wait in its text", () => {
    const Search = Tool.make("search", { success: Schema.String }).annotate(ToolPolicy.Service, "google")
    const toolkit = Toolkit.make(Search)
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(toolResults), ["call-1 ok", "call-2 Rejected"])
      assert.deepInclude(toolResults[1]?.result, { retryAfterMillis: 2000 })
      const calls = (yield* TestLimiter.admissions).filter(({ service }) => service === "google")
      assert.deepStrictEqual(calls.map(({ status }) => status), ["released", "rejected"])
    }).pipe(Effect.provide([
      TestModel.script([[ToolCall("search"), ToolCall("search")], "thanks"]),
      TestTools.layer(toolkit, { search: TestTools.succeed("found", { after: 0 }) }),
      TestLimiter.layer({ reject: TestLimiter.nth("google", 2, { retryAfter: "2 seconds" }) })
    ]))
  })

  it("dies on options that make no sense, naming them", () => {
    const cases: ReadonlyArray<readonly [() => unknown, string]> = [
      [
        () => TestLimiter.layer({ permits: { google: -1 } }),
        "permits.google is -1; it must be an integer of at least 0"
      ],
      [() => TestLimiter.makeUnsafe({ permits: { a: NaN } }), "permits.a is NaN; it must be an integer of at least 0"],
      [() => TestLimiter.nth("google", 0), "nth(\"google\") is 0; it must be an integer of at least 1"],
      [
        () => TestLimiter.nth("google", 1, { retryAfter: -5 }),
        "retryAfter is -5; it must be a duration of at least 0"
      ]
    ]
    for (const [make, message] of cases) assert.strictEqual(dyingOf(make), `TestLimiter.${message}`)
  })

  it.effect("that makes no sense while it runs is a defect of the request, and takes nothing", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Limiter.withAdmission(google)(Effect.void))
      assert.include(String(exit), "TestLimiter.delay is NaN; it must be a duration of at least 0")
      const allowed = yield* Effect.exit(TestLimiter.allow("google", 0.5))
      assert.include(String(allowed), "TestLimiter.allow(\"google\") is 0.5; it must be an integer of at least 0")
      const window = yield* Effect.exit(TestLimiter.mostIn(0))
      assert.include(String(window), "TestLimiter.mostIn: window is 0; it must be a duration above 0")
      assert.deepStrictEqual(yield* statusesOf, ["withdrawn"])
      assert.lengthOf(yield* TestLimiter.held, 0)
    }).pipe(Effect.provide(TestLimiter.layer({ delay: () => NaN }))))
})

describe("TestLimiter: the caller's place", () => {
  it.effect("is taken with the permit: who waits for one holds nothing of the other", () => {
    const { ask, end, log } = asking()
    const { free, gate, state } = makeGate(1)
    return Effect.gen(function*() {
      yield* ask("a", { service: "google", gate: gate() })
      yield* ask("b", { service: "google", gate: gate() })
      yield* ask("c")
      yield* ask("d", { service: "google", gate: gate() })
      assert.deepStrictEqual(log, ["a", "c"], "who waits for a place lets others have the permit")
      yield* free(1)
      assert.deepStrictEqual(log, ["a", "c"])
      assert.strictEqual(state.taken, 1, "who waits for a permit has no place")
      yield* end("c")
      assert.deepStrictEqual([log, state.taken], [["a", "c", "b"], 2])
      yield* end("a")
      yield* free(1)
      assert.deepStrictEqual([log, state.taken], [["a", "c", "b", "d"], 3])
    }).pipe(Effect.provide(TestLimiter.layer({ permits: { google: 2 } })))
  })

  it.effect("that is not free rejects a speculative request", () => {
    const { ask, log } = asking()
    const { gate } = makeGate(0)
    return Effect.gen(function*() {
      yield* ask("guess", { speculative: true, gate: gate() })
      assert.deepStrictEqual(log, ["guess Exceeded"])
    }).pipe(Effect.provide(TestLimiter.layer()))
  })

  it.effect("is left alone by a limiter that ignores it", () => {
    const { ask, log } = asking()
    const { gate, state } = makeGate(0)
    return Effect.gen(function*() {
      yield* ask("a", { gate: gate() })
      assert.deepStrictEqual([log, state.taken], [["a"], 0])
    }).pipe(Effect.provide(TestLimiter.layer({ gate: "ignored" })))
  })
})

describe("TestLimiter: interruption at every step", () => {
  /** Three calls for one permit and one place; the one in the middle is interrupted before step `at`. */
  const scenario = (opsBeforeYield: number, at: number, yields?: () => boolean) => {
    const steps = new Steps(opsBeforeYield, yields)
    const run = Effect.runForkWith(steps.context)
    const limits = TestLimiter.makeUnsafe({ permits: { a: 1 } })
    const { gate, state } = makeGate(3)
    const started: Array<string> = []
    const call = (name: string) =>
      run(
        Limiter.withAdmission({ service: "a", gate: gate() })(Effect.gen(function*() {
          started.push(name)
          yield* Effect.yieldNow
          yield* Effect.sleep(10)
        })).pipe(Effect.provide(limits.layer))
      )
    const fibers = ["a", "b", "c"].map(call)
    while (steps.taken < at && steps.take());
    const isReached = fibers.some((fiber) => fiber.pollUnsafe() === undefined)
    fibers[1]!.interruptUnsafe()
    steps.finish()
    return { isReached, started, limits, state, fibers, sleepers: steps.sleepers }
  }

  const holds = ({ fibers, limits, sleepers, started, state }: ReturnType<typeof scenario>, where: string) => {
    assert.sameMembers(started.filter((name) => name !== "b"), ["a", "c"], where)
    assert.deepStrictEqual([limits.held, limits.waiting], [[], []], where)
    assert.strictEqual(limits.mostHeld, 1, where)
    assert.strictEqual(sleepers, 0, where)
    assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() !== undefined), where)
    const ends = limits.admissions.map(({ admittedAt, status }) => [admittedAt !== undefined, status])
    for (const [admitted, status] of ends) {
      assert.strictEqual(status, admitted === true ? "released" : "withdrawn", where)
    }
    const admitted = ends.filter(([admitted]) => admitted).length
    assert.strictEqual(state.taken, admitted, `${where}: a place that was taken and not used is given back`)
  }

  for (const ops of [3, 4, 5, 7, 2048]) {
    it(`gives back what it took, and the others run, with ${ops} operations a turn`, () => {
      let at = 0
      let withdrawn = 0
      for (;; at++) {
        const done = scenario(ops, at)
        if (!done.isReached) break
        holds(done, `interrupted before step ${at}`)
        if (done.limits.admissions.some(({ status }) => status === "withdrawn")) withdrawn++
      }
      assert.isAbove(at, 5)
      assert.isAbove(withdrawn, 0)
    })
  }

  it("passes a grant on when its waiter leaves between the grant and its first step", () => {
    let passedOn = 0
    for (let from = 0; from < 150; from++) {
      for (let at = 0;; at++) {
        let operation = 0
        const done = scenario(2048, at, () => operation++ === from)
        if (!done.isReached) break
        holds(done, `yields at operation ${from}, interrupted before step ${at}`)
        passedOn += done.state.released
      }
    }
    assert.isAbove(passedOn, 0)
  })

  it("starts an admitted effect in the step of its grant, however near the fiber is to its yield", () => {
    for (let operations = 0; operations < 200; operations++) {
      const steps = new Steps(64)
      const limits = TestLimiter.makeUnsafe({ permits: { a: 1 } })
      const { gate, state } = makeGate(1)
      let started = 0
      const busy = Effect.forEach(Array.from({ length: operations }), () => Effect.void)
      const call = Limiter.withAdmission({ service: "a", gate: gate() })(Effect.sync(() => started++))
      Effect.runForkWith(steps.context)(Effect.andThen(busy, call).pipe(Effect.provide(limits.layer)))
      while (steps.take()) assert.strictEqual(state.taken, started, `after ${operations} operations`)
      assert.strictEqual(started, 1)
    }
  })
})

describe("TestLimiter.mostIn", () => {
  it.effect("counts the admissions of any window, which holds its start and not its end", () =>
    Effect.gen(function*() {
      const at = (millis: number, service: string) =>
        Effect.andThen(Effect.sleep(millis), Limiter.withAdmission({ service })(Effect.void))
      const times = [0, 100, 500, 1000, 1099, 1100, 5000]
      yield* Effect.forkChild(Effect.forEach(times, (time, i) => at(time, i % 2 === 0 ? "a" : "b"), {
        concurrency: "unbounded"
      }))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* TestLimiter.mostIn("1 second"), 4)
      assert.strictEqual(yield* TestLimiter.mostIn("1001 millis"), 5)
      assert.strictEqual(yield* TestLimiter.mostIn("100 millis"), 2)
      assert.strictEqual(yield* TestLimiter.mostIn("1 second", "a"), 2)
      assert.strictEqual(yield* TestLimiter.mostIn("1 second", "c"), 0)
    }).pipe(Effect.provide(TestLimiter.layer())))
})

describe("TestLimiter.recording", () => {
  it.effect("shows what the real limiter admits, and when", () =>
    Effect.gen(function*() {
      const call = Limiter.withAdmission({ service: "maps", tokens: 5 })((lease) =>
        Effect.as(Effect.andThen(lease.settle({ tokens: 3 }), Effect.sleep(10)), lease.waitedMillis)
      )
      const fiber = yield* Effect.forkChild(Effect.all([call, call, call], { concurrency: "unbounded" }))
      yield* settle
      assert.deepStrictEqual(yield* statusesOf, ["held", "held", "waiting"])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [0, 0, 1000])
      assert.deepStrictEqual(
        (yield* TestLimiter.admissions).map((it) => [it.requestedAt, it.admittedAt, it.releasedAt, it.settled]),
        [[0, 0, 10, 3], [0, 0, 10, 3], [0, 1000, 1010, 3]]
      )
      assert.deepStrictEqual(yield* TestLimiter.settled, [3, 3, 3])
      assert.strictEqual(yield* TestLimiter.mostHeld, 2)
    }).pipe(Effect.provide(TestLimiter.recording(
      Limiter.layer({ services: { maps: Limiter.slidingWindow({ limit: 2, window: "1 second" }) } })
    ))))

  it.effect("tells rejected from withdrawn", () =>
    Effect.gen(function*() {
      const { ask, log } = asking()
      yield* ask("held", { service: "db" })
      const fiber = yield* ask("gone", { service: "db" })
      yield* ask("guess", { service: "db", speculative: true })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(log, ["held", "guess Exceeded"])
      assert.deepStrictEqual(yield* statusesOf, ["held", "withdrawn", "rejected"])
      assert.strictEqual((yield* TestLimiter.admissions)[2]?.rejected?.reason, "Exceeded")
    }).pipe(Effect.provide(TestLimiter.recording(Limiter.layer({ services: { db: Limiter.permits(1) } })))))

  it.effect("does not take a failure of the admitted effect for a rejection of the limiter", () =>
    Effect.gen(function*() {
      const rejected = new Limiter.Rejected({ reason: "Exceeded", limit: "inner", message: "inner" })
      const failed = yield* Effect.flip(Limiter.withAdmission({})(Effect.fail(rejected)))
      assert.strictEqual(failed, rejected)
      assert.deepStrictEqual(yield* statusesOf, ["released"])
    }).pipe(Effect.provide(TestLimiter.recording(Limiter.layer({})))))

  it.effect("writes down each admission of a request that an adaptive limiter runs again", () =>
    Effect.gen(function*() {
      let attempts = 0
      const call = Limiter.withAdmission({ service: "api", repeat: true })(
        Effect.suspend((): Effect.Effect<string, object> =>
          ++attempts === 1 ? Effect.fail({ status: 429, headers: { "retry-after": "2" } }) : Effect.succeed("ok")
        )
      )
      const fiber = yield* Effect.forkChild(call)
      yield* settle
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "ok")
      const all = yield* TestLimiter.admissions
      assert.deepStrictEqual(all.map(({ nth, status }) => [nth, status]), [[1, "released"], [1, "released"]])
      assert.strictEqual(all[0]?.admittedAt, 0)
      assert.isAtLeast(all[1]?.admittedAt ?? 0, 2000)
    }).pipe(Effect.provide(TestLimiter.recording(Limiter.layer({ onExceeded: "adaptive" })))))

  it.effect("leaves rules, dry runs and feedback to the limiter, and has no permits of its own", () =>
    Effect.gen(function*() {
      yield* Limiter.add("maps", Limiter.slidingWindow({ limit: 1, window: "1 minute" }))
      yield* Limiter.withAdmission({ service: "maps" })(Effect.void)
      const [line] = yield* Limiter.explain([{ service: "maps" }])
      assert.strictEqual(line?.startMillis, 60_000)
      const exit = yield* Effect.exit(TestLimiter.allow("maps", 1))
      assert.include(String(exit), "TestLimiter.allow: the permits are those of the recorded limiter")
    }).pipe(Effect.provide(TestLimiter.recording(Limiter.layer({})))))

  it.effect("stands under the engine like the limiter itself", () => {
    const Search = Tool.make("search", { success: Schema.Finite }).annotate(ToolPolicy.Service, "google")
    const limits = Limiter.layer({ services: { google: Limiter.slidingWindow({ limit: 5, window: "1 second" }) } })
    return Effect.gen(function*() {
      const calls = Effect.all(Array.from({ length: 20 }, () => Executor.call(Search, {})), {
        concurrency: "unbounded"
      })
      const fiber = yield* Effect.forkChild(calls)
      yield* settle
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      assert.strictEqual(yield* TestLimiter.mostIn("1 second", "google"), 5)
      assert.deepStrictEqual(yield* TestLimiter.held, [])
    }).pipe(Effect.provide([
      TestTools.layer(Toolkit.make(Search), { search: TestTools.succeed(1) }),
      TestLimiter.recording(limits)
    ]))
  })
})
