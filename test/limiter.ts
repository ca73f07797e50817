/**
 * Limiters of one's own for engine tests. Where the contract of a limiter is enough, tests take `TestLimiter` of the kit.
 *
 * `HandLimiter` breaks it in one point, as a user's may: a speculative request waits like any other.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Limiter, type Request } from "../src/policy/Limiter.ts"

interface Waiter {
  readonly request: Request
  readonly start: () => void
}

type Use = (lease: {
  readonly settle: (actual: { readonly tokens: number }) => Effect.Effect<void>
  readonly waitedMillis: number
  readonly lost: Effect.Effect<void>
}) => Effect.Effect<unknown, unknown>

export class HandLimiter {
  readonly asked: Array<Request> = []
  readonly held: Array<Request> = []
  readonly settled: Array<number> = []
  readonly waiting = new Set<Waiter>()
  peak = 0
  /** How many were admitted, over all. */
  admitted = 0
  private readonly permits: Record<string, number>
  private readonly usesGate: boolean
  private readonly closed = new Set<object>()

  constructor(permits: Record<string, number> = {}, usesGate = true) {
    this.permits = permits
    this.usesGate = usesGate
  }

  allow(service: string, permits: number): Effect.Effect<void> {
    return Effect.sync(() => {
      this.permits[service] = permits
      this.serve()
    })
  }

  get layer(): Layer.Layer<Limiter> {
    return limiterOf((request, use) =>
      Effect.suspend(() => {
        let admitted = false
        this.asked.push(request)
        return Effect.callback<void>((resume) => {
          const waiter: Waiter = {
            request,
            start: () => {
              admitted = true
              resume(Effect.void)
            }
          }
          this.waiting.add(waiter)
          this.serve()
          return Effect.sync(() => {
            this.waiting.delete(waiter)
            this.serve()
          })
        }).pipe(
          Effect.andThen(
            use({
              settle: ({ tokens }) => Effect.sync(() => void this.settled.push(tokens)),
              waitedMillis: 0,
              lost: Effect.never
            })
          ),
          Effect.onExit(() =>
            Effect.sync(() => {
              if (!admitted) return
              this.held.splice(this.held.indexOf(request), 1)
              this.serve()
            })
          )
        )
      })
    )
  }

  private serve(): void {
    for (const waiter of this.waiting) {
      const { gate, service = "" } = waiter.request
      const used = this.held.filter((request) => request.service === waiter.request.service).length
      if (used >= (this.permits[service] ?? Infinity)) continue
      if (this.usesGate && gate !== undefined && !this.opens(gate)) continue
      this.waiting.delete(waiter)
      this.held.push(waiter.request)
      this.admitted++
      this.peak = Math.max(this.peak, this.held.length)
      waiter.start()
    }
  }

  private opens(gate: NonNullable<Request["gate"]>): boolean {
    if (this.closed.has(gate.flow)) return false
    if (gate.tryTake()) return true
    this.closed.add(gate.flow)
    gate.onFree(() => {
      this.closed.delete(gate.flow)
      this.serve()
    })
    return false
  }
}

/** A limiter that does with a request what the function says. */
export const limiterOf = (
  admit: (request: Request, use: Use) => Effect.Effect<unknown, unknown>
): Layer.Layer<Limiter> =>
  Layer.succeed(Limiter, {
    withAdmission: (request: Request) => (use: Use | Effect.Effect<unknown>) =>
      admit(request, Effect.isEffect(use) ? () => use : use),
    add: () => Effect.void,
    feedback: () => Effect.void,
    explain: () => Effect.succeed([])
  } as never)

export const lease = {
  settle: () => Effect.void,
  waitedMillis: 0,
  lost: Effect.never
}

/** The most that fall into any window of this length; a window holds its start and not its end. */
export const mostIn = (windowMillis: number, times: ReadonlyArray<number>): number => {
  const sorted = [...times].sort((a, b) => a - b)
  let most = 0
  let from = 0
  for (const [at, time] of sorted.entries()) {
    while (sorted[from]! <= time - windowMillis) from++
    most = Math.max(most, at - from + 1)
  }
  return most
}
