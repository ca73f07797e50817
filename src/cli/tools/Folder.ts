/**
 * The folder the built-in tools may read: paths are resolved inside it, links that lead out are refused, and big,
 * binary and generated files are left alone. Read-only by construction: nothing here writes.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Schema from "effect/Schema"

/**
 * Why a built-in tool could not answer. `path` is as the caller gave it.
 *
 * @category errors
 * @since 0.1.0
 */
export const FolderFailure = Schema.Struct({
  _tag: Schema.Literals([
    "OutsideFolder",
    "NotFound",
    "NotAFile",
    "NotAFolder",
    "TooLarge",
    "Binary",
    "Unreadable",
    "BadPattern",
    "NotARepository",
    "NotJson"
  ]),
  path: Schema.String,
  message: Schema.String
})
export type FolderFailure = typeof FolderFailure.Type

/**
 * Makes a failure; the message is written for the model.
 *
 * @category constructors
 * @since 0.1.0
 */
export const failure = (tag: FolderFailure["_tag"], path: string, message: string): FolderFailure => ({
  _tag: tag,
  path,
  message
})

/** Files larger than this are not read. 1 MiB. @category limits @since 0.1.0 */
export const maxFileBytes = 1024 * 1024

/** A walk looks at this many entries and then says that it stopped. @category limits @since 0.1.0 */
export const maxEntries = 50_000

const skipped: ReadonlySet<string> = new Set(["node_modules", ".git", "dist", "coverage", ".hg", ".svn", ".cache"])

/**
 * What a walk found: paths relative to the folder with `/`, sorted. `truncated`: there was more than {@link
 * maxEntries}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Walk {
  readonly files: ReadonlyArray<string>
  readonly truncated: boolean
}

/**
 * The folder as a service.
 *
 * @category services
 * @since 0.1.0
 */
export class Folder extends Context.Service<Folder, {
  /** Its real, absolute path. */
  readonly root: string
  /** The real path of something inside. */
  readonly resolve: (path: string) => Effect.Effect<string, FolderFailure>
  /** The text of a file of at most {@link maxFileBytes}. */
  readonly readText: (path: string) => Effect.Effect<string, FolderFailure>
  /** Every file under a directory; no links, no generated folders. */
  readonly walk: (directory: string) => Effect.Effect<Walk, FolderFailure>
}>()("effect-toolformer/cli/Folder") {}

/**
 * A folder of the file system.
 *
 * **Errors** The Layer fails when the folder does not exist.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (root: string): Layer.Layer<Folder, PlatformError, FileSystem.FileSystem | Path.Path> =>
  Layer.effect(Folder, make(root))

const make = Effect.fnUntraced(function*(given: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = yield* fs.realPath(path.resolve(given))

  const isInside = (candidate: string): boolean =>
    candidate === root || candidate.startsWith(root.endsWith(path.sep) ? root : root + path.sep)
  const outside = (given: string) =>
    failure(
      "OutsideFolder",
      given,
      `${given} is outside the folder this tool may read. Give a path inside it, such as src/index.ts.`
    )

  const resolve = Effect.fnUntraced(function*(given: string) {
    const absolute = path.resolve(root, given)
    if (given.includes("\0") || !isInside(absolute)) return yield* Effect.fail(outside(given))
    const real = yield* Effect.mapError(fs.realPath(absolute), unreadable(given))
    return isInside(real) ? real : yield* Effect.fail(outside(given))
  })

  const readText = Effect.fnUntraced(function*(given: string) {
    const real = yield* resolve(given)
    const info = yield* Effect.mapError(fs.stat(real), unreadable(given))
    if (info.type !== "File") return yield* Effect.fail(failure("NotAFile", given, `${given} is not a file.`))
    if (Number(info.size) > maxFileBytes) {
      return yield* Effect.fail(
        failure("TooLarge", given, `${given} has ${info.size} bytes; the limit is ${maxFileBytes}.`)
      )
    }
    const bytes = yield* Effect.mapError(fs.readFile(real), unreadable(given))
    return isBinary(bytes)
      ? yield* Effect.fail(failure("Binary", given, `${given} is not a text file.`))
      : new TextDecoder().decode(bytes)
  })

  const walk = Effect.fnUntraced(function*(directory: string) {
    const start = yield* resolve(directory)
    const info = yield* Effect.mapError(fs.stat(start), unreadable(directory))
    if (info.type !== "Directory") {
      return yield* Effect.fail(failure("NotAFolder", directory, `${directory} is not a folder.`))
    }
    const files: Array<string> = []
    const open = [start]
    let seen = 0
    while (open.length > 0 && seen < maxEntries) {
      const current = open.pop()!
      // A folder that vanished or may not be read hides its files, not the others.
      const entries = yield* Effect.orElseSucceed(fs.readDirectoryEntries(current), () => [])
      for (const entry of entries) {
        if (++seen > maxEntries) break
        if (entry.type === "File") files.push(path.relative(root, path.join(current, entry.name)).replaceAll("\\", "/"))
        else if (entry.type === "Directory" && !skipped.has(entry.name)) open.push(path.join(current, entry.name))
      }
    }
    return { files: files.sort(), truncated: seen > maxEntries || open.length > 0 }
  })

  return Folder.of({ root, resolve, readText, walk })
})

const unreadable = (given: string) => (error: PlatformError): FolderFailure =>
  error.reason._tag === "NotFound"
    ? failure("NotFound", given, `There is no ${given} in this folder. Use find_files to see what there is.`)
    : failure("Unreadable", given, `${given} could not be read: ${error.reason._tag}.`)

// Text has no NUL in its first 8 KiB; the rule git uses.
const isBinary = (bytes: Uint8Array): boolean => bytes.subarray(0, 8192).includes(0)
