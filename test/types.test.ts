import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "..")

describe("types", () => {
  it("allow and refuse the uses written down in test/types", () => {
    const files = readdirSync(join(root, "test", "types")).filter((name) => name.endsWith(".test-d.ts"))
    assert.isAbove(files.length, 0)
    for (const file of files) {
      assert.include(
        readFileSync(join(root, "test", "types", file), "utf8"),
        "@ts-expect-error",
        `${file} refuses nothing`
      )
    }
    const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
    const { stdout } = spawnSync(process.execPath, [tsc, "-p", root, "--pretty", "false"], {
      encoding: "utf8",
      cwd: root
    })
    assert.deepStrictEqual(stdout.split("\n").filter((line) => line.startsWith("test/types/")), [])
  })
})
