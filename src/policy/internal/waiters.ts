/**
 * How many wait in a lane, by owner, each count with its end.
 */

interface Count {
  waiting: number
  until: number
}

export class Waiters {
  private readonly lanes = new Map<string, Map<string, Count>>()
  private hand = this.lanes.entries()

  get size(): number {
    return this.lanes.size
  }

  /** How many wait there for others. */
  others(lane: string, owner: string, now: number): number {
    let sum = 0
    for (const [name, count] of this.lanes.get(lane) ?? []) {
      if (name !== owner && count.until > now) sum += count.waiting
    }
    return sum
  }

  /** When the last count of the others ends. */
  othersUntil(lane: string, owner: string): number {
    let until = 0
    for (const [name, count] of this.lanes.get(lane) ?? []) {
      if (name !== owner) until = Math.max(until, count.until)
    }
    return until
  }

  register(lane: string, owner: string, waiting: number, until: number): void {
    const counts = this.lanes.get(lane)
    if (waiting > 0) {
      if (counts === undefined) this.lanes.set(lane, new Map([[owner, { waiting, until }]]))
      else counts.set(owner, { waiting, until })
    } else if (counts?.delete(owner) === true && counts.size === 0) {
      this.lanes.delete(lane)
    }
  }

  /** Forgets an ended count or two of owners that ask no more. */
  sweep(now: number): void {
    const next = this.hand.next()
    if (next.done === true) return void (this.hand = this.lanes.entries())
    const [lane, counts] = next.value
    for (const [owner, count] of counts) {
      if (count.until <= now) counts.delete(owner)
    }
    if (counts.size === 0) this.lanes.delete(lane)
  }
}
