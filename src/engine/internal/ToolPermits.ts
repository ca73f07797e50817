/**
 * The permits of one tool's own cap, shared by every run of the process. A call waits here only while its run has a free
 * place, so waiting holds nothing; when a permit comes back, waiters are offered it in order and the first whose run can start
 * it takes it.
 */
export interface Waiter {
  /** Whether its run has a free place now. */
  canStart(): boolean
  /** Takes the permit and starts the call. */
  start(): void
  /** Answers the call `Rejected` if it still waits. */
  reject(limit: string): void
}

export interface ToolPermits {
  readonly limit: number
  used: number
  /** Permits held by handlers that were answered without having ended. */
  abandoned: number
  /** By call, in order of arrival. */
  readonly waiters: Map<object, Waiter>
  waking: boolean
}

export const makePermits = (limit: number): ToolPermits => ({
  limit,
  used: 0,
  abandoned: 0,
  waiters: new Map(),
  waking: false
})

/** Offers free permits to the waiters, oldest first. A handler that ends at once gives its permit back inside this loop. */
export const wake = (permits: ToolPermits): void => {
  if (permits.waking) return
  permits.waking = true
  for (const [call, waiter] of permits.waiters) {
    if (permits.used >= permits.limit) break
    if (!waiter.canStart()) continue
    permits.waiters.delete(call)
    waiter.start()
  }
  permits.waking = false
}

export const release = (permits: ToolPermits): void => {
  permits.used--
  wake(permits)
}
