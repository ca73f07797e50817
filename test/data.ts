/**
 * Recorded material that is never copied into the repository: the folder `$TOOLFORMER_DATA`, or `../shared/data` beside the
 * clone. Tests that replay it are skipped by name where it is absent, and fail there with `TOOLFORMER_REQUIRE_DATA=1`.
 */
import { assert, describe, it } from "@effect/vitest"
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "..")

/** The folder that holds the sets (`wire`, `bfcl`, `json-schema` ...), whether it exists or not. */
export const dataDir = (): string => resolve(root, process.env["TOOLFORMER_DATA"] ?? join("..", "shared", "data"))

/** Whether a set is there, such as `"json-schema"`. */
export const hasData = (set: string): boolean => existsSync(join(dataDir(), set))

/**
 * A `describe` over one set; `tests` gets its folder. Without the set one test stands in for all of them: skipped, under a
 * name that says what to do, or failing where data is required.
 */
export const describeData = (set: string, name: string, tests: (folder: string) => void): void => {
  const folder = join(dataDir(), set)
  if (hasData(set)) return void describe(name, () => tests(folder))
  const title = `needs ${set}: put the recorded data beside the clone as ../shared/data, or set TOOLFORMER_DATA`
  const required = process.env["TOOLFORMER_REQUIRE_DATA"] === "1"
  describe(name, () => {
    it.skipIf(!required)(title, () => assert.fail(`TOOLFORMER_REQUIRE_DATA=1, and ${folder} does not exist`))
  })
}
