/**
 * Who may touch what, in the order the model asked. One queue per key: readers share it, a writer has it alone, nobody
 * overtakes. A call lines up on all its keys at once and is free when it holds them all, so no two can wait for each other.
 * Pure state, no fibers; every step is constant time per key.
 */
import type { Resource } from "../../domain/ToolPolicy.ts"

interface Entry<Owner> {
  readonly claim: Claim<Owner>
  readonly queue: KeyQueue<Owner>
  readonly write: boolean
  state: "waiting" | "granted" | "gone"
}

interface KeyQueue<Owner> {
  readonly key: string
  waiting: Array<Entry<Owner>>
  head: number
  readers: number
  writer: boolean
}

interface Claim<Owner> {
  readonly owner: Owner
  readonly entries: Array<Entry<Owner>>
  missing: number
}

export class ResourceLocks<Owner extends object> {
  private readonly queues = new Map<string, KeyQueue<Owner>>()
  private readonly claims = new Map<Owner, Claim<Owner>>()

  /** Lines the owner up on its keys. Says whether it holds them all. */
  request(owner: Owner, resources: ReadonlyArray<Resource>): boolean {
    const wanted = new Map<string, boolean>()
    for (const resource of resources) {
      const key = "write" in resource ? resource.write : resource.read
      wanted.set(key, wanted.get(key) === true || "write" in resource)
    }
    const claim: Claim<Owner> = { owner, entries: [], missing: 0 }
    this.claims.set(owner, claim)
    for (const [key, write] of wanted) {
      const queue = this.queueOf(key)
      const entry: Entry<Owner> = { claim, queue, write, state: "waiting" }
      claim.entries.push(entry)
      if (queue.head === queue.waiting.length && fits(entry)) grant(entry)
      else {
        claim.missing++
        queue.waiting.push(entry)
      }
    }
    return claim.missing === 0
  }

  /** Takes the owner out of every queue and returns the owners this made free, in order. */
  release(owner: Owner): ReadonlyArray<Owner> {
    const claim = this.claims.get(owner)
    if (claim === undefined) return []
    this.claims.delete(owner)
    const freed: Array<Owner> = []
    for (const entry of claim.entries) {
      const { queue, state, write } = entry
      entry.state = "gone"
      if (state === "granted") {
        if (write) queue.writer = false
        else queue.readers--
      }
      advance(queue, freed)
      if (queue.head === queue.waiting.length && queue.readers === 0 && !queue.writer) this.queues.delete(queue.key)
    }
    return freed
  }

  /** The owners that wait for a key this owner holds. */
  behind(owner: Owner): ReadonlyArray<Owner> {
    const found = new Set<Owner>()
    for (const entry of this.claims.get(owner)?.entries ?? []) {
      if (entry.state !== "granted") continue
      for (const other of entry.queue.waiting.slice(entry.queue.head)) {
        if (other.state === "waiting" && (entry.write || other.write)) found.add(other.claim.owner)
      }
    }
    return [...found]
  }

  private queueOf(key: string): KeyQueue<Owner> {
    const known = this.queues.get(key)
    if (known !== undefined) return known
    const made: KeyQueue<Owner> = { key, waiting: [], head: 0, readers: 0, writer: false }
    this.queues.set(key, made)
    return made
  }
}

const fits = <Owner>({ queue, write }: Entry<Owner>): boolean => !queue.writer && (!write || queue.readers === 0)

const grant = <Owner>(entry: Entry<Owner>): void => {
  entry.state = "granted"
  if (entry.write) entry.queue.writer = true
  else entry.queue.readers++
}

const advance = <Owner>(queue: KeyQueue<Owner>, freed: Array<Owner>): void => {
  for (; queue.head < queue.waiting.length; queue.head++) {
    const entry = queue.waiting[queue.head]!
    if (entry.state === "gone") continue
    if (!fits(entry)) return
    grant(entry)
    if (--entry.claim.missing === 0) freed.push(entry.claim.owner)
  }
  queue.waiting = []
  queue.head = 0
}
