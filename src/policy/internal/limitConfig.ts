/**
 * The limits of a program from its environment.
 */
import type * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { configError, duration, text, variables } from "./environment.ts"
import type { Variables } from "./environment.ts"
import type { Rule } from "./rule.ts"
import { parseRules } from "./ruleText.ts"

/** What the environment may say; as the options of `Limiter.layer`. */
export interface ConfiguredLimits {
  readonly global?: ReadonlyArray<Rule>
  readonly services?: Readonly<Record<string, ReadonlyArray<Rule>>>
  readonly tenants?: Readonly<Record<string, ReadonlyArray<Rule>>>
  readonly onExceeded?: "wait" | "fail" | "adaptive"
  readonly maxWait?: Duration.Duration
}

const prefix = "TOOLFORMER_LIMIT"
const servicePrefix = `${prefix}_SERVICE_`
const known = ["GLOBAL", "SERVICES", "TENANT", "TENANTS", "ON_EXCEEDED", "MAX_WAIT"].map((name) => `${prefix}_${name}`)

const rulesOf = (name: string, text: string): Effect.Effect<ReadonlyArray<Rule>, Config.ConfigError> =>
  Result.match(parseRules(text), {
    onFailure: (why) => Effect.fail(configError(name, why)),
    onSuccess: Effect.succeed
  })

/**
 * Reads the options of a limiter:
 *
 * - `TOOLFORMER_LIMIT_GLOBAL`: rules, such as `500 calls / 1 minute sliding, 10 at once`.
 * - `TOOLFORMER_LIMIT_SERVICE_<NAME>`: rules of the service whose name is `<NAME>` in lower case.
 * - `TOOLFORMER_LIMIT_SERVICES`: JSON, rules by exact name: `{"google-maps": "50 calls / 1 second"}`.
 * - `TOOLFORMER_LIMIT_TENANT`: rules of each tenant. `TOOLFORMER_LIMIT_TENANTS`: JSON, by tenant.
 * - `TOOLFORMER_LIMIT_ON_EXCEEDED`: `wait`, `fail` or `adaptive`. `TOOLFORMER_LIMIT_MAX_WAIT`: `30 seconds`.
 */
export const readLimits: Effect.Effect<ConfiguredLimits, Config.ConfigError> = Effect.gen(function*() {
  const global = yield* text(`${prefix}_GLOBAL`)
  const set = yield* variables(prefix)
  yield* refuseUnknown(set)
  const services = yield* named(set.filter(([name]) => name.startsWith(servicePrefix)))
  const tenant = yield* text(`${prefix}_TENANT`)
  const tenants = yield* byName(`${prefix}_TENANTS`)
  if (tenant !== undefined) {
    if (Object.hasOwn(tenants, "default")) {
      return yield* Effect.fail(configError(`${prefix}_TENANT`, `${prefix}_TENANTS names "default" too`))
    }
    put(tenants, "default", yield* rulesOf(`${prefix}_TENANT`, tenant))
  }
  const onExceeded = yield* text(`${prefix}_ON_EXCEEDED`)
  if (onExceeded !== undefined && !isOnExceeded(onExceeded)) {
    const why = `${JSON.stringify(onExceeded)} is not "wait", "fail" or "adaptive"`
    return yield* Effect.fail(configError(`${prefix}_ON_EXCEEDED`, why))
  }
  const maxWait = yield* duration(`${prefix}_MAX_WAIT`)
  return {
    ...(global === undefined ? {} : { global: yield* rulesOf(`${prefix}_GLOBAL`, global) }),
    ...(Object.keys(services).length === 0 ? {} : { services }),
    ...(Object.keys(tenants).length === 0 ? {} : { tenants }),
    ...(onExceeded === undefined ? {} : { onExceeded }),
    ...(maxWait === undefined ? {} : { maxWait })
  }
})

const isOnExceeded = (value: string): value is "wait" | "fail" | "adaptive" =>
  value === "wait" || value === "fail" || value === "adaptive"

// A limit that nobody reads because its name is misspelt would let everything pass.
const refuseUnknown = (set: Variables): Effect.Effect<void, Config.ConfigError> => {
  const name = set.map(([name]) => name).find((name) =>
    !known.includes(name) && !(name.startsWith(servicePrefix) && name.length > servicePrefix.length)
  )
  return name === undefined
    ? Effect.void
    : Effect.fail(configError(name, `there is no such setting; there are ${known.join(", ")}, ${servicePrefix}<NAME>`))
}

/** Services by variable, and by name in the JSON. One may stand in one place only. */
const named = Effect.fnUntraced(function*(set: Variables) {
  const rules = yield* byName(`${prefix}_SERVICES`)
  for (const [variable, value] of set) {
    const name = variable.slice(servicePrefix.length).toLowerCase()
    if (Object.hasOwn(rules, name)) {
      return yield* Effect.fail(configError(variable, `the rules of "${name}" stand in another variable too`))
    }
    put(rules, name, yield* rulesOf(variable, value))
  }
  return rules
})

const byName = Effect.fnUntraced(function*(variable: string) {
  const rules: Record<string, ReadonlyArray<Rule>> = {}
  const json = yield* text(variable)
  if (json === undefined) return rules
  const parsed = yield* Effect.try({
    try: (): unknown => JSON.parse(json),
    catch: (error) => configError(variable, `it is no JSON: ${error instanceof Error ? error.message : String(error)}`)
  })
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return yield* Effect.fail(configError(variable, "it must be a JSON object: rules by name"))
  }
  for (const [name, value] of Object.entries(parsed)) {
    const at = `${variable}, ${JSON.stringify(name)}`
    if (typeof value !== "string") return yield* Effect.fail(configError(at, "its rules must be a text"))
    put(rules, name, yield* rulesOf(at, value))
  }
  return rules
})

// A name may be `__proto__`.
const put = <A>(record: Record<string, A>, name: string, value: A): void => {
  Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true })
}
