/**
 * The limiters outside Effect. Their packages are missing until the bench installs them, so only the few names used here are
 * typed, by hand.
 */
import type { Ongoing } from "../duel.ts"

interface FixedWindow {
  readonly consume: (key: string, points?: number) => Promise<unknown>
}
interface Flexible {
  readonly RateLimiterMemory: new(options: { readonly points: number; readonly duration: number }) => FixedWindow
  readonly RateLimiterRedis: new(options: object) => FixedWindow
}
interface Queue {
  readonly add: <A>(task: () => A | Promise<A>) => Promise<A>
}
interface PQueue {
  readonly default: new(options: object) => Queue
}
interface IoRedis {
  readonly Redis: new(port: number, host: string) => object
}

// The specifier is a variable so that type checking does not need the package.
const load = <A>(specifier: string): Promise<A> => import(specifier)

const plenty = 1_000_000_000

/** `rate-limiter-flexible` in memory: one fixed window, one `consume` after the other. */
export const flexible = async (n: number): Promise<() => Promise<number>> => {
  const { RateLimiterMemory } = await load<Flexible>("rate-limiter-flexible")
  const limiter = new RateLimiterMemory({ points: plenty, duration: 1 })
  return async () => {
    for (let i = 0; i < n; i++) await limiter.consume("api")
    return n
  }
}

/** `p-queue` with an interval cap: one task after the other. */
export const pQueue = async (n: number): Promise<() => Promise<number>> => {
  const { default: PQueue } = await load<PQueue>("p-queue")
  const queue = new PQueue({ interval: 1000, intervalCap: plenty })
  const nothing = (): void => undefined
  return async () => {
    for (let i = 0; i < n; i++) await queue.add(nothing)
    return n
  }
}

/** `rate-limiter-flexible` on Redis: four fixed windows, one `consume` after the other, as many rows of them as are in flight. */
export const flexibleOnRedis = async (port: number): Promise<Ongoing> => {
  const { RateLimiterRedis } = await load<Flexible>("rate-limiter-flexible")
  const { Redis } = await load<IoRedis>("ioredis")
  const client = new Redis(port, "127.0.0.1")
  const limiters = ["global", "service", "burst", "tenant"].map((keyPrefix) =>
    new RateLimiterRedis({ storeClient: client, keyPrefix, points: plenty, duration: 1 })
  )
  return (inFlight, done) => {
    let going = true
    const row = async (): Promise<void> => {
      while (going) {
        for (const limiter of limiters) await limiter.consume("api")
        done()
      }
    }
    const rows = Array.from({ length: inFlight }, row)
    return () => {
      going = false
      return Promise.all(rows)
    }
  }
}
