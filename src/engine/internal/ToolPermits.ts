/**
 * The permits of one tool's own cap, shared by every run of the process. A call waits here only while its run has a free
 * place, so waiting holds nothing; when a permit comes back, waiters are offered it in order and the first whose run can start
 * it takes it.
 */
export interface Waiter {
  /** Whether its run has a free place now. */
  canStart(): boolean
  /** Takes the permit and starts the call; does nothing for a call that has been answered meanwhile. */
  start(): void
}

export interface ToolPermits {
  readonly limit: number
  used: number
  /** Permits held by handlers that were answered without having ended. */
  abandoned: number
  waiters: Array<Waiter>
  waking: boolean
}

export const makePermits = (limit: number): ToolPermits => ({ limit, used: 0, abandoned: 0, waiters: [], waking: false })

/** Offers free permits to the waiters, oldest first. A handler that ends at once gives its permit back inside this loop. */
export const wake = (permits: ToolPermits): void => {
  if (permits.waking) return
  permits.waking = true
  for (let i = 0; i < permits.waiters.length && permits.used < permits.limit;) {
    const waiter = permits.waiters[i]!
    if (waiter.canStart()) {
      permits.waiters.splice(i, 1)
      waiter.start()
      i = 0
    } else i++
  }
  permits.waking = false
}

export const release = (permits: ToolPermits): void => {
  permits.used--
  wake(permits)
}
