/**
 * Limits and lanes as the scripts see them, prepared once: keys, names, and pieces of JSON between which a batch only puts
 * indexes.
 */
import { fastWay, type Numbers } from "./redisFast.ts"
import { escape, short } from "./redisKeys.ts"
import { kinds } from "./redisRules.ts"
import { ask as wholeAsk } from "./redisScripts.ts"
import type { Rule } from "./rule.ts"
import type { Lane, Limit } from "./store.ts"

/** A limit as the scripts see it: its keys, and the pieces of its JSON around the indexes of those keys. */
export interface PreparedLimit {
  readonly limit: Limit
  readonly hash: string
  readonly structure: string | undefined
  readonly head: string
  readonly middle: string
  readonly tail: string
  readonly leaseMicros: number
  readonly shape: Shape
  readonly field: string
}

/** A lane with its limits prepared; `holdsPermits`: its grants have leases. */
export interface RedisLane extends Lane {
  readonly prepared: ReadonlyArray<PreparedLimit>
  readonly waitingHash: string
  readonly waitingField: string
  readonly holdsPermits: boolean
  readonly ownerName: string
  /** The lane asked for by itself: `script` where its rules have a short way. */
  readonly alone: {
    readonly keys: ReadonlyArray<string>
    readonly json: string
    readonly script: string | undefined
    readonly fields: ReadonlyArray<string>
  }
}

const micros = (millis: number): number => Math.ceil(millis * 1000)

interface Shape {
  readonly kind: number
  readonly letter: string
  readonly size: number
  readonly rate: number
  readonly span: number
  readonly keep: number
}

// The numbers of a rule stand in its letter: under one key, another rule is another limit, and no limit meets a state that was
// counted in another's units.
const shapeOf = (rule: Rule): Shape => {
  switch (rule._tag) {
    case "TokenBucket": {
      const { capacity, everyMillis, refill } = rule
      const span = everyMillis * 1000
      const letter = `b${capacity}_${refill}_${everyMillis}`
      return {
        kind: kinds.bucket,
        letter,
        size: capacity,
        rate: refill,
        span,
        keep: Math.ceil(capacity * span / refill)
      }
    }
    case "SlidingWindow":
      return rule.unit === "calls"
        ? windowOf(kinds.calls, "s", rule.limit, rule.windowMillis)
        : windowOf(kinds.tokens, "t", rule.limit, rule.windowMillis)
    case "FixedWindow":
      return windowOf(kinds.fixed, "f", rule.limit, rule.windowMillis)
    case "Permits":
      return windowOf(kinds.permits, "p", rule.permits, rule.leaseMillis)
    case "Adaptive":
      return { kind: kinds.adaptive, letter: "a", size: 1e300, rate: 0, span: 0, keep: 5_400_000_000 }
  }
}

const windowOf = (kind: number, letter: string, size: number, millis: number): Shape => {
  const span = micros(millis)
  return { kind, letter: `${letter}${size}_${millis}`, size, rate: 0, span, keep: Math.ceil(span * 1.002) }
}

const hasStructure = (kind: number): boolean => kind === kinds.calls || kind === kinds.tokens || kind === kinds.permits

/** Tenants come and go: each has a hash, which expires with it. What is configured stands in the limiter's own hash. */
const hashOf = (tag: string, limit: Limit): string =>
  limit.key.startsWith("tenant/") ? `${tag}:g:${short(limit.group)}` : tag

/** Prepares a limit: no I/O, once for each. */
export const prepareLimit = (tag: string, limit: Limit): PreparedLimit => {
  const shape = shapeOf(limit.rule)
  const { keep, kind, letter, rate, size, span } = shape
  const unit = limit.rule.unit === "calls" ? 0 : 1
  const field = `${letter}${unit === 0 ? "c" : "u"}:${short(limit.key)}`
  return {
    limit,
    hash: hashOf(tag, limit),
    structure: hasStructure(kind) ? `${tag}:${field}` : undefined,
    head: `[${kind},`,
    middle: `,"${field}",`,
    tail: `,${unit},${size},${rate},${span},${keep}`,
    leaseMicros: kind === kinds.permits ? span : 0,
    shape,
    field
  }
}

/** Keys and limits of one script, each once, in the order in which they are first named. */

/** Keys and limits of one script, each once, in the order in which they are first named. */
export class Batch {
  readonly keys: Array<string>
  private readonly keyIndex = new Map<string, number>()
  private readonly limitIndex = new Map<string, number>()
  private readonly withNames: boolean
  json = ""

  constructor(tag: string, withNames: boolean) {
    this.keys = [tag]
    this.keyIndex.set(tag, 1)
    this.withNames = withNames
  }

  key(name: string): number {
    const known = this.keyIndex.get(name)
    if (known !== undefined) return known
    const index = this.keys.push(name)
    this.keyIndex.set(name, index)
    return index
  }

  limit(prepared: PreparedLimit): number {
    const id = prepared.limit.key + prepared.middle
    const known = this.limitIndex.get(id)
    if (known !== undefined) return known
    const index = this.limitIndex.size + 1
    this.limitIndex.set(id, index)
    const structure = prepared.structure === undefined ? 0 : this.key(prepared.structure)
    const name = this.withNames ? `,"${escape(prepared.limit.key)}"` : ""
    const separator = index === 1 ? "" : ","
    this.json += `${separator}${prepared.head}${
      this.key(prepared.hash)
    }${prepared.middle}${structure}${prepared.tail}${name}]`
    return index
  }
}

/** Prepares a lane: no I/O, once for each. */
export const prepareLane = (tag: string, key: string, limits: ReadonlyArray<Limit>, owner: string): RedisLane => {
  const prepared = limits.map((limit) => prepareLimit(tag, limit))
  const waitingHash = prepared.findLast((one) => one.hash !== tag)?.hash ?? tag
  const waitingField = `w:${short(key)}`
  const batch = new Batch(tag, false)
  const on = prepared.map((one) => batch.limit(one))
  const waitingIndex = batch.key(waitingHash)
  const json = `[[${batch.json}],[[[${on.join(",")}],${waitingIndex},"${waitingField}","${escape(owner)}",`
  const numbers = prepared.map(({ hash, limit, shape, structure }): Numbers => ({
    ...shape,
    unit: limit.rule.unit === "calls" ? 0 : 1,
    hash: batch.key(hash),
    key: structure === undefined ? 0 : batch.key(structure)
  }))
  const way = fastWay(numbers, waitingIndex)
  return {
    key,
    owner,
    limits,
    prepared,
    waitingHash,
    waitingField,
    ownerName: escape(owner),
    holdsPermits: prepared.some((one) => one.leaseMicros > 0),
    alone: {
      keys: batch.keys,
      json,
      script: way === undefined ? undefined : way + wholeAsk,
      fields: [waitingField, ...prepared.map(({ field }) => field)]
    }
  }
}
