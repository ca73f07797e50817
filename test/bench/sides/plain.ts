/**
 * The plain sides: what one would write by hand, with no model, no schemas, no timeouts. They are the floor, not
 * rivals.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Semaphore from "effect/Semaphore"

const indexes = (calls: number): ReadonlyArray<number> => Array.from({ length: calls }, (_, index) => index)

/** `Promise.all` over every call at once. */
export const promiseAll = async (calls: number, work: (index: number) => Promise<number>): Promise<number> =>
  (await Promise.all(indexes(calls).map(work))).length

/** `Promise.all` behind a counting semaphore made of promises. */
export const promiseSemaphore = (calls: number, cap: number, work: (index: number) => Promise<number>) => {
  let free = cap
  const waiting: Array<() => void> = []
  const take = (): Promise<void> | undefined => {
    if (free === 0) return new Promise((resolve) => waiting.push(resolve))
    free--
    return undefined
  }
  const release = (): void => {
    const next = waiting.shift()
    if (next === undefined) free++
    else next()
  }
  return promiseAll(calls, async (index) => {
    await take()
    try {
      return await work(index)
    } finally {
      release()
    }
  })
}

/** One fiber per call behind Effect's `Semaphore`. */
export const effectSemaphore = (calls: number, cap: number, work: (index: number) => Effect.Effect<number>) =>
  Effect.gen(function*() {
    const permits = Semaphore.makeUnsafe(cap)
    const results = yield* Effect.forEach(indexes(calls), (index) => permits.withPermit(work(index)), {
      concurrency: "unbounded"
    })
    return results.length
  })

/** One bare fiber per call; the returned function interrupts them all and waits for their ends. */
export const bareFibers = (calls: number, work: (index: number) => Effect.Effect<number>): () => Promise<void> => {
  const fibers = indexes(calls).map((index) => Effect.runFork(work(index)))
  return () => Effect.runPromise(Fiber.interruptAll(fibers))
}
