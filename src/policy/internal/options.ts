/** The options of a limiter, checked where it is made: what makes no sense dies there, by name. */
import type * as Duration from "effect/Duration"
import type { RuleBook } from "./lanes.ts"
import type { OnStoreError } from "./outage.ts"
import { millisOf } from "./plan.ts"
import type { Defaults } from "./plan.ts"
import type { Rule } from "./rule.ts"

export type Rules = Rule | ReadonlyArray<Rule>

export interface Given {
  readonly global?: Rules | undefined
  readonly services?: Readonly<Record<string, Rules>> | undefined
  readonly tenants?: Rules | Readonly<Record<string, Rules>> | undefined
  readonly onExceeded?: "wait" | "fail" | "adaptive" | undefined
  readonly maxWait?: Duration.Input | undefined
}

export interface GivenStore {
  readonly onStoreError?: OnStoreError | undefined
  readonly commandTimeout?: Duration.Input | undefined
  readonly probeInterval?: Duration.Input | undefined
}

export interface Settings {
  readonly book: RuleBook
  readonly defaults: Defaults
  readonly onStoreError: OnStoreError
  readonly commandTimeoutMillis: number
  readonly probeMillis: number
}

// All that the Layers take, a store's own included: who shares a program's options between them may.
const known: ReadonlySet<string> = new Set([
  ..."global services tenants onExceeded maxWait".split(" "),
  ..."onStoreError commandTimeout probeInterval prefix name".split(" ")
])

// A limit under a misspelt name would let everything pass.
const refuseUnknown = (given: object): void => {
  const unknown = Object.keys(given).find((name) => !known.has(name))
  if (unknown !== undefined) die("an option", unknown, `one of ${[...known].join(", ")}`)
}

export const settings = (given: Given & GivenStore): Settings => {
  refuseUnknown(given)
  const { global = [], maxWait = 60_000, onExceeded = "wait", services = {}, tenants = [] } = given
  if (onExceeded !== "wait" && onExceeded !== "fail" && onExceeded !== "adaptive") {
    return die("onExceeded", onExceeded, `"wait", "fail" or "adaptive"`)
  }
  const maxWaitMillis = millisOf(maxWait)
  if (!(maxWaitMillis >= 0)) return die("maxWait", maxWait, "a duration of at least 0")
  const byTenant = isRules(tenants) ? {} : tenants
  return {
    book: {
      global: rulesOf("global", global),
      services: named("services", services),
      tenants: named("tenants", byTenant),
      everyTenant: isRules(tenants)
        ? rulesOf("tenants", tenants)
        : Object.hasOwn(byTenant, "default")
        ? rulesOf("tenants.default", byTenant["default"]!)
        : [],
      adaptive: onExceeded === "adaptive"
    },
    defaults: { maxWaitMillis, fails: onExceeded === "fail" },
    ...storeSettings(given)
  }
}

const storeSettings = (given: GivenStore): Omit<Settings, "book" | "defaults"> => {
  const { commandTimeout = 250, onStoreError = "closed", probeInterval = 1000 } = given
  if (onStoreError !== "open" && onStoreError !== "closed" && onStoreError !== "local") {
    return die("onStoreError", onStoreError, `"open", "closed" or "local"`)
  }
  return {
    onStoreError,
    commandTimeoutMillis: positive("commandTimeout", commandTimeout),
    probeMillis: positive("probeInterval", probeInterval)
  }
}

const positive = (name: string, input: Duration.Input): number => {
  const millis = millisOf(input)
  return Number.isFinite(millis) && millis > 0 ? millis : die(name, input, "a finite duration above 0")
}

const named = (where: string, rules: Readonly<Record<string, Rules>>): ReadonlyMap<string, ReadonlyArray<Rule>> =>
  typeof rules !== "object" || rules === null || isRules(rules)
    ? die(where, rules, "rules by name")
    : new Map(Object.entries(rules).map(([name, each]) => [name, rulesOf(`${where}.${name}`, each)]))

const isRules = (rules: Rules | Readonly<Record<string, Rules>>): rules is Rules =>
  Array.isArray(rules) || isRule(rules)

const isRule = (value: unknown): value is Rule =>
  typeof value === "object" && value !== null && "_tag" in value && typeof value._tag === "string"

const rulesOf = (where: string, rules: Rules): ReadonlyArray<Rule> => {
  const all: ReadonlyArray<unknown> = Array.isArray(rules) ? rules : [rules]
  for (const rule of all) if (!isRule(rule)) die(where, rule, "a rule, as Limiter.tokenBucket and its like make them")
  return all as ReadonlyArray<Rule>
}

const die = (name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`Limiter.layer: ${name} is ${String(value)}; it must be ${wanted}`)
}
