/** The latest commits, from `git log` itself. */
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import { failure } from "./Folder.ts"
import type { FolderFailure } from "./Folder.ts"

export interface Commit {
  readonly hash: string
  readonly author: string
  readonly date: string
  readonly subject: string
}

/**
 * Reads the log of the repository that `root` lies in; nothing is written and nothing is asked.
 *
 * **Errors** `NotARepository` when `root` is in none or it has no commit; `Unreadable` when git is missing or fails
 * otherwise.
 */
export const gitLog = (
  root: string,
  limit: number,
  path: string | undefined
): Effect.Effect<ReadonlyArray<Commit>, FolderFailure, ChildProcessSpawner.ChildProcessSpawner> =>
  Effect.scoped(Effect.gen(function*() {
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const handle = yield* spawner.spawn(ChildProcess.make("git", argumentsOf(limit, path), {
      cwd: root,
      env: { GIT_TERMINAL_PROMPT: "0", GIT_OPTIONAL_LOCKS: "0", LC_ALL: "C" },
      extendEnv: true,
      stdin: "ignore"
    }))
    const [output, complaint, code] = yield* Effect.all([
      Stream.mkString(Stream.decodeText(handle.stdout)),
      Stream.mkString(Stream.decodeText(handle.stderr)),
      handle.exitCode
    ], { concurrency: "unbounded" })
    return Number(code) === 0 ? commits(output) : yield* Effect.fail(refusal(complaint))
  })).pipe(
    Effect.catchTag(
      "PlatformError",
      (error) =>
        Effect.fail(failure("Unreadable", ".", `git could not be run: ${error.reason._tag}. Is git installed?`))
    )
  )

const argumentsOf = (limit: number, path: string | undefined): ReadonlyArray<string> => [
  "--no-pager",
  "log",
  "--no-show-signature",
  "--no-color",
  `--max-count=${limit}`,
  "--format=%H%x1f%an%x1f%aI%x1f%s",
  "--",
  ...path === undefined ? [] : [path]
]

const commits = (output: string): ReadonlyArray<Commit> =>
  output.split("\n").filter((line) => line !== "").map((line) => {
    const [hash = "", author = "", date = "", subject = ""] = line.split("\u001f")
    return { hash, author, date, subject }
  })

const refusal = (complaint: string): FolderFailure =>
  /not a git repository|does not have any commits/i.test(complaint)
    ? failure("NotARepository", ".", "This folder is in no git repository, or the repository has no commit yet.")
    : failure("Unreadable", ".", `git log failed: ${complaint.trim().split("\n")[0]?.slice(0, 300) ?? ""}`)
