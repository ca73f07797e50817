/**
 * What a success is worth to its group: its score, or the class it votes for. Asks the user's function or reads the field it
 * names; what throws or is no number is an issue in words, never a worth.
 */
import * as Result from "effect/Result"
import { describe } from "../../domain/ToolFailure.ts"
import type { Worth } from "./branchRules.ts"

export interface Judge {
  readonly score: string | ((result: never) => number) | undefined
  readonly agree: ((result: never) => string | number | boolean) | undefined
}

/** The worth of a result, or why it has none. */
export const worthOf = ({ agree, score }: Judge, result: unknown): Result.Result<Worth, string> =>
  score !== undefined
    ? Result.flatMap(ask("score", () => typeof score === "string" ? field(result, score) : score(result as never)), (
      value
    ) =>
      typeof value === "number" && Number.isFinite(value)
        ? Result.succeed(value)
        : Result.fail(
          `its score${typeof score === "string" ? ` "${score}"` : ""} is ${shown(value)}, no finite number`
        ))
    : agree !== undefined
    ? Result.flatMap(ask("class", () => agree(result as never)), (value) =>
      isClass(value)
        ? Result.succeed(value)
        : Result.fail(`its class is ${shown(value)}, no string, number or boolean`))
    : Result.succeed(undefined)

const ask = (what: string, f: () => unknown): Result.Result<unknown, string> =>
  Result.try({ try: () => answered(f()), catch: (error) => `its ${what} threw ${describe(error)}` })

// A promise is no worth, and its rejection would end the process.
const answered = (value: unknown): unknown => {
  if (value instanceof Promise) value.catch(() => {})
  return value
}

const field = (result: unknown, name: string): unknown =>
  typeof result === "object" && result !== null && Object.hasOwn(result, name)
    ? (result as Record<string, unknown>)[name]
    : undefined

const isClass = (value: unknown): value is string | number | boolean =>
  typeof value === "string" || typeof value === "boolean" || (typeof value === "number" && !Number.isNaN(value))

const shown = (value: unknown): string => {
  const text = typeof value === "string"
    ? JSON.stringify(value)
    : value instanceof Promise
    ? "a promise"
    : describe(value)
  return text.length > 64 ? `${text.slice(0, 64)}...` : text
}
