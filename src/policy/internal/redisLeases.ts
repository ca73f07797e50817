/**
 * What a process knows of its own leases in Redis.
 */
import { type Lease, toMicros } from "./redisEncode.ts"
import type { PreparedLimit, RedisLane } from "./redisLane.ts"
import type { Grant } from "./store.ts"

/** A grant's lease at one of its limits. */
export interface OwnLease {
  readonly grant: Grant
  readonly lease: Lease
}

/** When each lease ends, as far as this process knows: whether one that is gone was lost by time, or with the data. */
export class Leases {
  private readonly ends = new Map<string, number>()

  readonly of = (grant: Grant): ReadonlyArray<OwnLease> => {
    const { head, lane } = grant
    return (lane as RedisLane).prepared.flatMap((prepared) => {
      if (prepared.leaseMicros === 0) return []
      const known = this.ends.get(nameOf(prepared, head.id))
      const ends = known ?? toMicros(grant.grantedAt) + prepared.leaseMicros
      return [{ grant, lease: { prepared, amount: head.calls, id: head.id, ends } }]
    })
  }

  renewed(asked: ReadonlyArray<OwnLease>, [now, ...goesOn]: ReadonlyArray<number>): ReadonlyArray<Grant> {
    const lost = new Set<Grant>()
    for (const [i, { grant, lease }] of asked.entries()) {
      if (goesOn[i] === 1) this.ends.set(nameOf(lease.prepared, lease.id), now! + lease.prepared.leaseMicros)
      else lost.add(grant)
    }
    for (const grant of lost) this.forget(grant)
    return [...lost]
  }

  forget({ head, lane }: Grant): void {
    for (const prepared of (lane as RedisLane).prepared) this.ends.delete(nameOf(prepared, head.id))
  }
}

const nameOf = (prepared: PreparedLimit, id: string): string => `${prepared.structure} ${id}`
