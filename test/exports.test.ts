import { assert, describe, expect, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { posix, resolve } from "node:path"
import { parseSync } from "oxc-parser"

const root = resolve(import.meta.dirname, "..")
const manifest: { readonly exports: Record<string, string | { readonly default: string }> } = JSON.parse(
  readFileSync(resolve(root, "package.json"), "utf8")
)

// Entry points of package.json and the sources behind them; `./package.json` is a file, not a module.
const entries = Object.entries(manifest.exports).flatMap(([name, target]) =>
  typeof target === "string"
    ? []
    : [[name, target.default.replace(/^\.\/dist/, "src").replace(/\.js$/, ".ts")] as const]
)
const present = entries.filter(([, path]) => existsSync(resolve(root, path)))

type Names = { readonly [name: string]: string | Names }

// The names a module exports: `"value"`, `"type"` or both; a namespace is its own names.
const namesOf = (path: string): Names => {
  const { module } = parseSync(path, readFileSync(resolve(root, path), "utf8"))
  const names: Record<string, string | Names> = {}
  for (
    const { exportName, importName, isType, moduleRequest } of module.staticExports.flatMap((each) => each.entries)
  ) {
    const source = moduleRequest === null ? undefined : posix.join(posix.dirname(path), moduleRequest.value)
    if (exportName.name === null) {
      if (source !== undefined && exportName.kind === "None") Object.assign(names, namesOf(source))
    } else if (importName.kind === "All" || importName.kind === "AllButDefault") {
      names[exportName.name] = source === undefined ? "value" : namesOf(source)
    } else {
      const kind = isType ? "type" : "value"
      const before = names[exportName.name]
      names[exportName.name] = before === undefined || before === kind ? kind : "value and type"
    }
  }
  return Object.fromEntries(Object.entries(names).sort(([a], [b]) => a < b ? -1 : 1))
}

const values = (names: Names): ReadonlyArray<string> =>
  Object.entries(names).filter(([, kind]) => kind !== "type").map(([name]) => name)

describe("exports", () => {
  it("are the names reviewed in exports.snap.json (update with `npm test -- test/exports.test.ts -u`)", async () => {
    const surface = Object.fromEntries(present.map(([name, path]) => [name, namesOf(path)]))
    await expect(`${JSON.stringify(surface, null, 2)}\n`).toMatchFileSnapshot("exports.snap.json")
  })

  it.each(present)("of %s are there when it is imported", async (_, path) => {
    const names = namesOf(path)
    const loaded: Record<string, object> = await import(resolve(root, path))
    assert.deepStrictEqual(Object.keys(loaded).sort(), [...values(names)].sort())
    for (const [name, inner] of Object.entries(names)) {
      if (typeof inner === "object") {
        assert.deepStrictEqual(Object.keys(loaded[name]!).sort(), [...values(inner)].sort(), name)
      }
    }
  })

  it.runIf(process.env["CI"] !== undefined)("of package.json all have a source", () => {
    assert.deepStrictEqual(entries.filter((entry) => !present.includes(entry)), [])
  })
})
