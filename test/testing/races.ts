/**
 * Programs with one planted race each, and their repaired twins: what exploration has to find, and what it must let pass. Each
 * fiber does some work that is right before and after, so that the wrong moment is one of many.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Semaphore from "effect/Semaphore"

/** Work of some operations that touches nothing shared. */
const work = (operations: number) => Effect.repeat(Effect.sync(() => undefined), { times: operations })

const around = <A, E>(operations: number, effect: Effect.Effect<A, E>) =>
  Effect.andThen(work(operations), Effect.andThen(effect, work(operations)))

const both = <A, E>(fibers: ReadonlyArray<Effect.Effect<A, E>>) => Effect.all(fibers, { concurrency: "unbounded" })

const expect = (isRight: boolean, what: string) => isRight ? Effect.void : Effect.fail(what)

/** Two read, then both write. */
const lostUpdate = Effect.gen(function*() {
  const count = yield* Ref.make(0)
  const add = Effect.flatMap(Ref.get(count), (n) => Ref.set(count, n + 1))
  yield* both([around(10, add), around(10, add)])
  yield* expect((yield* Ref.get(count)) === 2, "an update was lost")
})

/** Among ten that write elsewhere, two meet. */
const lostUpdateOfMany = Effect.gen(function*() {
  const counts = yield* Ref.make<ReadonlyArray<number>>(Array.from({ length: 9 }, () => 0))
  const add = (at: number) =>
    Effect.gen(function*() {
      const own = (yield* Ref.get(counts))[at]!
      yield* Ref.update(counts, (all) => all.with(at, own + 1))
    })
  yield* both(Array.from({ length: 10 }, (_, i) => around(5, add(i % 9))))
  yield* expect((yield* Ref.get(counts))[0] === 2, "an update was lost")
})

/** The second comes late, and the first is slow. */
const lostUpdateOfUnequals = Effect.gen(function*() {
  const count = yield* Ref.make(0)
  const add = Effect.flatMap(Ref.get(count), (n) => Ref.set(count, n + 1))
  yield* both([around(2, add), around(5, add)])
  yield* expect((yield* Ref.get(count)) === 2, "an update was lost")
})

/** Both look, find nothing, and fill in. */
const checkThenAct = Effect.gen(function*() {
  const cache = new Map<string, number>()
  let fetched = 0
  const fetch = Effect.sync(() => ++fetched)
  const cached = Effect.gen(function*() {
    const hit = yield* Effect.sync(() => cache.get("a"))
    if (hit !== undefined) return hit
    const value = yield* fetch
    yield* Effect.sync(() => cache.set("a", value))
    return value
  })
  yield* both([around(10, cached), around(10, cached)])
  yield* expect(fetched === 1, "fetched twice")
})

/** One looks whether it has to wait, the other says so before it waits. */
const lostWakeUp = Effect.gen(function*() {
  let isReady = false
  let waiter: Deferred.Deferred<void> | undefined
  const wait = Effect.gen(function*() {
    if (yield* Effect.sync(() => isReady)) return
    const deferred = yield* Deferred.make<void>()
    yield* Effect.sync(() => void (waiter = deferred))
    yield* Deferred.await(deferred)
  })
  const signal = Effect.gen(function*() {
    yield* Effect.sync(() => void (isReady = true))
    if (waiter !== undefined) yield* Deferred.succeed(waiter, undefined)
  })
  yield* both([around(10, wait), around(10, signal)])
})

/** A holder gives its permit back, and so does whoever takes it down at the same moment. */
const doubleRelease = Effect.gen(function*() {
  let free = 0
  let isHeld = true
  const release = Effect.gen(function*() {
    if (!(yield* Effect.sync(() => isHeld))) return
    yield* Effect.sync(() => void free++)
    yield* Effect.sync(() => void (isHeld = false))
  })
  yield* both([around(10, release), around(10, release)])
  yield* expect(free === 1, "released twice")
})

/** A stack whose top is compared by name: popped, another popped, and the first pushed again in between. */
const aba = Effect.gen(function*() {
  type Node = { readonly name: string; next: Node | undefined }
  const c: Node = { name: "c", next: undefined }
  const b: Node = { name: "b", next: c }
  const a: Node = { name: "a", next: b }
  let top: Node | undefined = a
  const popped: Array<string> = []
  const pop: Effect.Effect<Node> = Effect.gen(function*() {
    while (true) {
      const seen: Node = yield* Effect.sync(() => top!)
      const next = yield* Effect.sync(() => seen.next)
      const isOwn = yield* Effect.sync(() => {
        if (top !== seen) return false
        top = next
        return true
      })
      if (isOwn) return seen
    }
  })
  const push = (node: Node) =>
    Effect.sync(() => {
      node.next = top
      top = node
    })
  const take = Effect.map(pop, ({ name }) => void popped.push(name))
  const shuffle = Effect.gen(function*() {
    const first = yield* pop
    yield* take
    yield* push(first)
  })
  yield* both([around(4, take), around(4, shuffle)])
  const left: Array<string> = []
  for (let node = top as Node | undefined; node !== undefined; node = node.next) left.push(node.name)
  yield* expect(new Set([...left, ...popped]).size === left.length + popped.length, "a node is in two places")
})

/** Two that take two locks in two orders. */
const twoLocks = Effect.gen(function*() {
  const [a, b] = [yield* Semaphore.make(1), yield* Semaphore.make(1)]
  const holding = (first: Semaphore.Semaphore, second: Semaphore.Semaphore) =>
    first.withPermit(Effect.andThen(work(2), second.withPermit(work(2))))
  yield* both([around(10, holding(a, b)), around(10, holding(b, a))])
})

/** Only where the second is between its two writes does the first read both, and between its own two reads the third writes. */
const threeMeet = Effect.gen(function*() {
  let x = 0
  let y = 0
  let seen: readonly [number, number] = [0, 0]
  const read = Effect.gen(function*() {
    const first = yield* Effect.sync(() => x)
    yield* work(1)
    seen = [first, yield* Effect.sync(() => y)]
  })
  const write = Effect.gen(function*() {
    yield* Effect.sync(() => void (x = 1))
    yield* work(1)
    yield* Effect.sync(() => void (y = y === 5 ? 7 : 1))
  })
  yield* both([around(10, read), around(10, write), around(10, Effect.sync(() => void (y = 5)))])
  yield* expect(!(seen[0] === 1 && seen[1] === 5), "read in between")
})

/** Who gives up at the last moment gets it as well. */
const timeoutMeetsResult = Effect.gen(function*() {
  let given = 0
  let taken = 0
  const slot = yield* Deferred.make<number>()
  const giver = Effect.gen(function*() {
    yield* Effect.sleep(10)
    given++
    yield* Deferred.succeed(slot, 1)
  })
  const taker = Effect.gen(function*() {
    const got = yield* Effect.timeoutOption(Deferred.await(slot), 10)
    if (got._tag === "Some") taken++
  })
  yield* both([giver, taker])
  yield* expect(given === taken, "given, and not taken")
})

/** What must fail. */
export const races: Readonly<Record<string, Effect.Effect<void, string>>> = {
  lostUpdate,
  lostUpdateOfMany,
  lostUpdateOfUnequals,
  checkThenAct,
  lostWakeUp,
  doubleRelease,
  aba,
  twoLocks,
  threeMeet,
  timeoutMeetsResult
}

const atomically = Effect.gen(function*() {
  const count = yield* Ref.make(0)
  const add = Ref.update(count, (n) => n + 1)
  yield* both([around(10, add), around(10, add)])
  yield* expect((yield* Ref.get(count)) === 2, "an update was lost")
})

const underLock = Effect.gen(function*() {
  const count = yield* Ref.make(0)
  const lock = yield* Semaphore.make(1)
  const add = lock.withPermit(Effect.flatMap(Ref.get(count), (n) => Ref.set(count, n + 1)))
  yield* both([around(10, add), around(10, add)])
  yield* expect((yield* Ref.get(count)) === 2, "an update was lost")
})

const latched = Effect.gen(function*() {
  const ready = yield* Deferred.make<void>()
  yield* both([around(10, Deferred.await(ready)), around(10, Deferred.succeed(ready, undefined))])
})

const oneOrder = Effect.gen(function*() {
  const [a, b] = [yield* Semaphore.make(1), yield* Semaphore.make(1)]
  const holding = a.withPermit(Effect.andThen(work(2), b.withPermit(work(2))))
  yield* both([around(10, holding), around(10, holding)])
})

/** What must pass: the same, done right. */
export const repaired = { atomically, underLock, latched, oneOrder }
