/**
 * The permits of one tool's own cap, shared by every run of the process. A call waits here only while its run has a free
 * place, so waiting holds nothing; when a permit comes back, waiters are offered it in order and the first whose run can start
 * it takes it.
 *
 * A handler that calls its own tool again would wait for itself. So a call may *lend* its permit to one call made under it at a
 * time; whoever ends first leaves the permit to the other, and the cap holds throughout.
 *
 * Calls that wait in a limiter do not line up here: their gate looks in, and is told when looking again may help.
 */
export interface Holder {
  /** Whether a permit of the tool is its own. */
  holdsToolPermit: boolean
  /** Whose permit it uses instead. */
  lender: Holder | undefined
  /** Who uses its permit while it waits for them. */
  borrower: Holder | undefined
  readonly abandoned: boolean
  /** Nobody has asked for it: no call is refused for the permit it keeps. */
  readonly guess: { giveWay(): boolean } | undefined
  /** The call whose handler made this one, if any, and the permits of its tool. */
  readonly parent: Holder | undefined
  readonly permits: ToolPermits | undefined
}

export interface Waiter {
  /** Whether its run has a free place now. */
  canStart(): boolean
  /** Whether it has one after a call on a guess was asked to give its place up. */
  makesRoom(): boolean
  /** Starts the call, which has its permit. */
  start(): void
  /** Answers the call `Rejected` if it still waits. */
  reject(limit: string): void
}

/** Calls whose gates open together, and how long they have been shut. */
export class Flow {
  private shutMillis = 0
  private shutAt = Number.NaN

  shut(now: number): void {
    if (Number.isNaN(this.shutAt)) this.shutAt = now
  }

  open(now: number): void {
    this.shutMillis = this.shutFor(now)
    this.shutAt = Number.NaN
  }

  /** Over all, in milliseconds. */
  shutFor(now: number): number {
    return this.shutMillis + (Number.isNaN(this.shutAt) ? 0 : now - this.shutAt)
  }
}

export interface ToolPermits {
  readonly limit: number
  used: number
  /** Permits held by handlers that were answered without having ended. */
  abandoned: number
  /** By call, in order of arrival. */
  readonly waiters: Map<Holder, Waiter>
  /** The waiters made under another call, which may borrow. */
  readonly nested: Set<Holder>
  /** Calls that wait in a limiter, to be answered when every permit is stuck. */
  readonly limited: Map<Holder, Waiter>
  /** The calls from code, which have no run. */
  readonly flow: Flow
  /** Told once, when a permit may be free. */
  watchers: Array<Watcher>
  /** Calls on a guess that hold one, to be asked to give it up. */
  readonly spares: Set<Spare>
  /** Those that were asked and have not ended. */
  readonly yielding: Set<Holder>
  waking: boolean
  wakeAgain: boolean
}

/** A holder that nobody has asked for. */
export type Spare = Holder

/** A flow of a limiter that this cap holds up. */
export interface Watcher {
  readonly wake: () => void
  /** Made under another call, so it may borrow where nothing is free. */
  readonly nested: boolean
}

export const makePermits = (limit: number): ToolPermits => ({
  limit,
  used: 0,
  abandoned: 0,
  waiters: new Map(),
  nested: new Set(),
  limited: new Map(),
  flow: new Flow(),
  watchers: [],
  spares: new Set(),
  yielding: new Set(),
  waking: false,
  wakeAgain: false
})

/** Takes a free permit that nobody waits for, or borrows one from a call this one was made under. */
export const tryTake = (permits: ToolPermits, call: Holder): boolean =>
  (permits.waiters.size === 0 && takeFree(permits, call)) || borrow(permits, call)

const takeFree = (permits: ToolPermits, call: Holder): boolean => {
  if (permits.used >= permits.limit) return false
  permits.used++
  call.holdsToolPermit = true
  return true
}

const borrow = (permits: ToolPermits, call: Holder): boolean => {
  const lender = lenderOf(permits, call)
  if (lender === undefined) return false
  lender.borrower = call
  call.lender = lender
  return true
}

const lenderOf = (permits: ToolPermits, call: Holder): Holder | undefined => {
  for (let at = call.parent; at !== undefined; at = at.parent) {
    if (at.permits === permits && at.borrower === undefined && (at.holdsToolPermit || at.lender !== undefined)) {
      return at
    }
  }
  return undefined
}

/** As {@link tryTake}, for a call that has not lined up: it steps back for waiters that could start now, not for others. */
export const tryTakeBeside = (permits: ToolPermits, call: Holder): boolean =>
  (isOpen(permits) && takeFree(permits, call)) || borrow(permits, call)

/** Takes a free permit that nobody at all waits for; borrows from nobody. */
export const tryTakeIdle = (permits: ToolPermits, call: Holder): boolean => isIdle(permits) && takeFree(permits, call)

/** Whether one is free that nobody at all waits for. */
export const isIdle = (permits: ToolPermits): boolean =>
  permits.used < permits.limit && permits.waiters.size === 0 && permits.watchers.length === 0

/** As many guesses give their permits up as calls wait for one; those that do already count. */
export const makeWay = (permits: ToolPermits): void => {
  const { spares, waiters, yielding } = permits
  for (const spare of spares) {
    if (permits.used < permits.limit || waiters.size + permits.watchers.length <= yielding.size) return
    spares.delete(spare)
    // Noted before: it may end at once.
    yielding.add(spare)
    if (!spare.guess!.giveWay()) yielding.delete(spare)
  }
}

/** A flow of a limiter waits for a permit. */
export const watchPermits = (permits: ToolPermits, watcher: Watcher): void => {
  permits.watchers.push(watcher)
}

/** Whether {@link tryTakeBeside} would say yes. */
export const mayTake = (permits: ToolPermits, call: Holder): boolean =>
  isOpen(permits) || lenderOf(permits, call) !== undefined

const isOpen = (permits: ToolPermits): boolean => {
  if (permits.used >= permits.limit) return false
  for (const waiter of permits.waiters.values()) if (waiter.canStart()) return false
  return true
}

/** Whether every permit is held by a handler that does not stop, so that none will come for this call. */
export const isStuck = (permits: ToolPermits, call: Holder): boolean =>
  permits.abandoned >= permits.limit && lenderOf(permits, call) === undefined

/** Answers every call for which no permit will come. */
export const rejectStuck = (permits: ToolPermits, limit: string): void => {
  for (const waiter of permits.waiters.values()) waiter.reject(limit)
  for (const [call, waiter] of permits.limited) if (isStuck(permits, call)) waiter.reject(limit)
}

/**
 * Offers what is free to the waiters, oldest first, and tells the watchers. A handler that ends at once gives its permit back
 * inside this loop.
 */
export const wake = (permits: ToolPermits): void => {
  if (permits.waking) {
    if (permits.watchers.length > 0) permits.wakeAgain = true
    return
  }
  permits.waking = true
  do {
    permits.wakeAgain = false
    wakeWaiters(permits)
    if (permits.watchers.length > 0) wakeWatchers(permits)
  } while (permits.wakeAgain)
  permits.waking = false
}

// In turn, and no more than have a chance; a flow that looks again in vain comes back at the tail.
const wakeWatchers = (permits: ToolPermits): void => {
  const told = permits.watchers
  permits.watchers = []
  for (const [at, watcher] of told.entries()) {
    if (permits.used >= permits.limit && !told.some(({ nested }) => nested)) {
      permits.watchers = [...told.slice(at), ...permits.watchers]
      return
    }
    watcher.wake()
  }
}

const wakeWaiters = (permits: ToolPermits): void => {
  for (const [call, waiter] of permits.waiters) {
    if (permits.used >= permits.limit) break
    if ((waiter.canStart() || waiter.makesRoom()) && takeFree(permits, call)) startNext(permits, call, waiter)
  }
  for (const call of permits.nested) {
    const waiter = permits.waiters.get(call)!
    if (waiter.canStart() && borrow(permits, call)) startNext(permits, call, waiter)
  }
}

const startNext = (permits: ToolPermits, call: Holder, waiter: Waiter): void => {
  leave(permits, call)
  waiter.start()
}

/** Lines up. */
export const wait = (permits: ToolPermits, call: Holder, waiter: Waiter): void => {
  permits.waiters.set(call, waiter)
  if (call.parent !== undefined) permits.nested.add(call)
}

/** Leaves the line. */
export const leave = (permits: ToolPermits, call: Holder): void => {
  permits.waiters.delete(call)
  permits.nested.delete(call)
}

/** The handler has ended: its permit goes back to where it came from, or stays with the call that borrowed it. */
export const release = (permits: ToolPermits, call: Holder): void => {
  if (!call.holdsToolPermit && call.lender === undefined) return
  giveBack(permits, call)
  wake(permits)
}

/** As {@link release}, and tells nobody. */
export const giveBack = (permits: ToolPermits, call: Holder): void => {
  const { borrower, holdsToolPermit, lender } = call
  if (permits.spares.size + permits.yielding.size > 0) {
    permits.spares.delete(call as Spare)
    permits.yielding.delete(call)
  }
  call.holdsToolPermit = false
  call.lender = undefined
  call.borrower = undefined
  if (holdsToolPermit && call.abandoned && call.guess === undefined) permits.abandoned--
  if (lender !== undefined) lender.borrower = borrower
  if (borrower !== undefined) {
    borrower.holdsToolPermit = holdsToolPermit
    borrower.lender = lender
    if (holdsToolPermit && borrower.abandoned) permits.abandoned++
  } else if (holdsToolPermit) permits.used--
}
