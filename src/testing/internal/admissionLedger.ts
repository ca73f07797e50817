/**
 * The admissions of a limiter, written down as they happen: asked for, admitted, settled, released, rejected or withdrawn. Pure
 * state; who decides is somebody else.
 */
import type { Rejected, Request } from "../../policy/Limiter.ts"

export type Status = "waiting" | "held" | "released" | "rejected" | "withdrawn"

export interface Admission {
  readonly request: Request
  readonly service: string | undefined
  readonly calls: number
  readonly tokens: number | undefined
  readonly priority: number
  readonly nth: number
  readonly requestedAt: number
  readonly admittedAt: number | undefined
  readonly releasedAt: number | undefined
  readonly status: Status
  readonly settled: number | undefined
  readonly rejected: Rejected | undefined
}

/** One admission on its way. */
export class Entry {
  readonly request: Request
  readonly nth: number
  readonly requestedAt: number
  admittedAt: number | undefined = undefined
  releasedAt: number | undefined = undefined
  status: Status = "waiting"
  settled: number | undefined = undefined
  rejected: Rejected | undefined = undefined

  constructor(request: Request, nth: number, requestedAt: number) {
    this.request = request
    this.nth = nth
    this.requestedAt = requestedAt
  }

  get snapshot(): Admission {
    const { admittedAt, nth, rejected, releasedAt, request, requestedAt, settled, status } = this
    const { calls = 1, priority = 0, service, tokens } = request
    const times = { requestedAt, admittedAt, releasedAt }
    return { request, service, calls, tokens, priority, nth, ...times, status, settled, rejected }
  }
}

export class Ledger {
  readonly entries: Array<Entry> = []
  /** What was settled, in that order. */
  readonly settled: Array<number> = []
  mostHeld = 0
  private heldCount = 0
  private readonly counts = new Map<string | undefined, number>()

  requested(request: Request, now: number): Entry {
    const nth = (this.counts.get(request.service) ?? 0) + 1
    this.counts.set(request.service, nth)
    return this.add(request, nth, now)
  }

  /** A limiter that repeats what was refused admits one request again. */
  repeated({ nth, request, requestedAt }: Entry): Entry {
    return this.add(request, nth, requestedAt)
  }

  private add(request: Request, nth: number, requestedAt: number): Entry {
    const entry = new Entry(request, nth, requestedAt)
    this.entries.push(entry)
    return entry
  }

  admitted(entry: Entry, now: number): void {
    entry.status = "held"
    entry.admittedAt = now
    this.mostHeld = Math.max(this.mostHeld, ++this.heldCount)
  }

  settle(entry: Entry, tokens: number): void {
    entry.settled = tokens
    this.settled.push(tokens)
  }

  released(entry: Entry, now: number): void {
    entry.status = "released"
    entry.releasedAt = now
    this.heldCount--
  }

  rejected(entry: Entry, rejected: Rejected): Rejected {
    entry.status = "rejected"
    entry.rejected = rejected
    return rejected
  }

  withdrawn(entry: Entry): void {
    entry.status = "withdrawn"
  }

  with(status: Status): ReadonlyArray<Admission> {
    return this.entries.filter((entry) => entry.status === status).map(({ snapshot }) => snapshot)
  }

  /** Times of admissions, of one service or of all, in order. */
  times(service: string | undefined): ReadonlyArray<number> {
    return this.entries
      .filter(({ request }) => service === undefined || request.service === service)
      .flatMap(({ admittedAt }) => admittedAt === undefined ? [] : [admittedAt])
      .sort((a, b) => a - b)
  }
}

/** The most that fall into any window of this length; a window holds its start and not its end. `times` are in order. */
export const mostIn = (windowMillis: number, times: ReadonlyArray<number>): number => {
  let most = 0
  let from = 0
  for (const [at, time] of times.entries()) {
    while (times[from]! <= time - windowMillis) from++
    most = Math.max(most, at - from + 1)
  }
  return most
}
