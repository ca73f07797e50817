/**
 * What can go wrong with one command, told apart by the only question that matters afterwards: may it have been applied?
 * ioredis says most of it in messages; they are read here, once.
 */
import * as Redis from "effect/persistence/Redis"
import * as Schema from "effect/Schema"

/**
 * Why a command has no answer: the `cause` of every `RedisError` of this adapter.
 *
 * **Shape**
 * - `kind`: `"Unreachable"` (no connection; it was not sent), `"TimedOut"` (no answer within `commandTimeout`) and
 *   `"Disconnected"` (the connection ended first): it may have been applied, and is never sent again; `"Refused"`: Redis answered
 *   with an error.
 * - `code`: the first word of Redis' answer (`WRONGTYPE`, `READONLY`, `LOADING`, `OOM`, `CROSSSLOT`, `NOSCRIPT`, `MOVED` ...).
 * - `command`: its name. Arguments are never shown.
 * - `isTransient`: whether the same command may succeed later with nothing changed.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandError extends Schema.TaggedError<CommandError>()("CommandError", {
  kind: Schema.Literals(["Unreachable", "TimedOut", "Disconnected", "Refused"]),
  command: Schema.String,
  message: Schema.String,
  isTransient: Schema.Boolean,
  code: Schema.optionalKey(Schema.String),
  cause: Schema.optionalKey(Schema.Defect())
}) {}

// MOVED and ASK reach a caller only where nobody follows them: the slot may come back.
const transientCodes = new Set(
  "ASK BUSY CLUSTERDOWN LOADING MASTERDOWN MOVED NOREPLICAS NOSCRIPT OOM READONLY TRYAGAIN".split(" ")
)

const maxMessage = 500

const textOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

/**
 * The code of an answer: its first word; of an error inside a script on Redis 6, the one behind the place in the script; of too
 * many redirections, the last one's.
 */
export const codeOf = (message: string): string | undefined =>
  /@user_script: ?\d+: -?([A-Z]{2,})\s/.exec(message)?.[1] ??
    /Last error: (?:\w+: )?([A-Z]{2,})\s/.exec(message)?.[1] ??
    /^-?([A-Z][A-Z0-9]+)(?=\s|$)/.exec(message)?.[1]

// ioredis puts the command on its errors, arguments and passwords included.
const withoutArguments = (error: unknown): unknown => {
  if (typeof error === "object" && error !== null && "command" in error) Reflect.deleteProperty(error, "command")
  return error
}

const kindOf = (error: unknown, message: string): CommandError["kind"] =>
  (error instanceof Error && error.name === "ReplyError") || message.startsWith("Too many Cluster redirections")
    ? "Refused"
    : message === "Command timed out"
    ? "TimedOut"
    : /enableOfflineQueue options is false|^None of startup nodes|^Failed to refresh slots/.test(message)
    ? "Unreachable"
    : "Disconnected"

// Effect's error has no words of its own; where nobody catches it, they are all that is read.
const redisError = (cause: CommandError): Redis.RedisError =>
  Object.defineProperty(new Redis.RedisError({ cause }), "message", {
    value: `${cause.command}: ${cause.message}`,
    enumerable: false
  })

/** What ioredis rejected a command with, as the error of the service. */
export const failed = (command: string, error: unknown): Redis.RedisError => {
  const said = textOf(error)
  const kind = kindOf(error, said)
  const code = kind === "Refused" ? codeOf(said) : undefined
  return redisError(
    new CommandError({
      kind,
      command,
      message: said.slice(0, maxMessage),
      isTransient: kind !== "Refused" || transientCodes.has(code ?? "") || said.includes("max number of clients"),
      ...(code === undefined ? {} : { code }),
      cause: withoutArguments(error)
    })
  )
}

/** No answer in time. */
export const timedOut = (command: string, millis: number): Redis.RedisError =>
  redisError(
    new CommandError({
      kind: "TimedOut",
      command,
      message: `no answer within ${millis} ms; it may have been applied and is not sent again`,
      isTransient: true
    })
  )

/** No connection: `state` is the client's, or where it was to lead; `why` ended the last one, or refused the next. */
export const unreachable = (command: string, state: string, why: unknown): Redis.RedisError => {
  const said = why === undefined ? "" : `: ${textOf(why)}`
  const code = why instanceof Error && why.name === "ReplyError" ? codeOf(why.message) : undefined
  return redisError(
    new CommandError({
      kind: "Unreachable",
      command,
      message: `no connection to Redis (${state})${said}`.slice(0, maxMessage),
      isTransient: code === undefined || transientCodes.has(code),
      ...(code === undefined ? {} : { code }),
      ...(why === undefined ? {} : { cause: withoutArguments(why) })
    })
  )
}
