import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join, resolve, sep } from "node:path"
import { faultsOf, importsOf, optionalPeers } from "./architecture.ts"

const root = resolve(import.meta.dirname, "..")

const tree = (folder: string): ReadonlyMap<string, string> =>
  new Map(
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => [`${folder}/${name.split(sep).join("/")}`, readFileSync(join(root, folder, name), "utf8")])
  )

const faults = (sources: Record<string, string>): ReadonlyArray<string> => faultsOf(new Map(Object.entries(sources)))

const bites = (sources: Record<string, string>, ...expected: ReadonlyArray<RegExp>): void => {
  const found = faults(sources)
  assert.strictEqual(found.length, expected.length, found.join("\n"))
  expected.forEach((pattern, i) => assert.match(found[i] ?? "", pattern))
}

describe("architecture", () => {
  it("holds for src: imports go down, without cycles, into no closed folder", () => {
    const sources = tree("src")
    assert.isAtLeast(sources.size, 7)
    assert.deepStrictEqual(faultsOf(sources), [])
  })

  it("gives every optional peer of package.json to one module", () => {
    const { peerDependenciesMeta } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    for (const name of Object.keys(peerDependenciesMeta)) {
      assert.isTrue(optionalPeers.some(([prefix]) => name === prefix || name.startsWith(prefix)), name)
    }
  })

  it("sees every way to import, and no text that only looks like one", () => {
    const source = `
      import * as A from "a"
      import type { B } from "b"
      import "c"
      export * from "d"
      export { e } from 'e'
      const f = () => import("f")
      type G = import("g").G
      export type { H } from "h"
      // import "comment"
      const text = 'import "text"'
      const computed = import(text)
    `
    assert.deepStrictEqual([...importsOf("x.ts", source)].sort(), ["a", "b", "c", "d", "e", "f", "g", "h"])
  })

  it("lets imports go down and stay on their floor", () => {
    assert.deepStrictEqual(
      faults({
        "src/domain/A.ts": "import * as Effect from \"effect/Effect\"",
        "src/domain/B.ts": "import \"./A.ts\"",
        "src/engine/internal/C.ts": "import \"../../domain/B.ts\"",
        "src/engine/D.ts": "import \"./internal/C.ts\"",
        "src/adapter/internal/openAiWire.ts": "import type OpenAI from \"openai\"",
        "src/adapter/OpenAi.ts": "import \"./internal/openAiWire.ts\"\nimport OpenAI from \"openai/azure\"",
        "src/adapter/LocalModel.ts": "import \"@energetic-ai/core\"\nimport \"node:fs\"",
        "src/testing/Vitest.ts": "import type { Matchers } from \"vitest\"",
        "src/testing/Recording.ts": "const adapter = () => import(\"../adapter/OpenAi.ts\")",
        "src/cli/main.ts": "import \"../adapter/OpenAi.ts\"\nimport \"node:process\"\nimport \"../index.ts\"",
        "src/index.ts": "export * as D from \"./engine/D.ts\""
      }),
      []
    )
  })

  it("fails on an import that climbs, types included", () => {
    bites(
      {
        "src/domain/A.ts": "import type { B } from \"../engine/B.ts\"",
        "src/engine/B.ts": "const x = import(\"../adapter/C.ts\")",
        "src/adapter/C.ts": "export type D = import(\"../testing/D.ts\").D",
        "src/testing/D.ts": ""
      },
      /src\/domain\/A\.ts .*floor 1 may not import floor 3/,
      /src\/engine\/B\.ts .*floor 3 may not import floor 4/,
      /src\/adapter\/C\.ts .*floor 4 may not import floor 5/
    )
  })

  it("fails on a cycle", () => {
    bites(
      {
        "src/domain/A.ts": "import \"./B.ts\"",
        "src/domain/B.ts": "import \"./C.ts\"",
        "src/domain/C.ts": "import type { A } from \"./A.ts\"",
        "src/domain/D.ts": "import \"./A.ts\""
      },
      /^cycle: src\/domain\/A\.ts -> src\/domain\/B\.ts -> src\/domain\/C\.ts -> src\/domain\/A\.ts$/
    )
    bites({ "src/domain/A.ts": "import \"./A.ts\"" }, /^cycle/)
  })

  it("fails on another folder's internal/", () => {
    bites(
      { "src/engine/internal/A.ts": "", "src/adapter/B.ts": "import \"../engine/internal/A.ts\"" },
      /internal\/ is closed to files outside src\/engine\//
    )
  })

  it("fails on Node in floors 1 to 3", () => {
    for (const name of ["node:fs", "fs", "fs/promises", "@effect/platform-node/NodeRuntime"]) {
      bites({ "src/engine/A.ts": `import "${name}"` }, /run where Node does not/)
      bites({ "src/adapter/A.ts": `import "${name}"` })
    }
  })

  it("fails on an optional peer outside its adapter", () => {
    bites({ "src/engine/A.ts": "import type OpenAI from \"openai\"" }, /only src\/adapter\/OpenAi\.ts may/)
    bites({ "src/adapter/LocalModel.ts": "import \"openai/resources\"" }, /only src\/adapter\/OpenAi\.ts may/)
    bites({ "src/cli/main.ts": "import \"@energetic-ai/core\"" }, /only src\/adapter\/LocalModel\.ts may/)
    bites(
      {
        "src/adapter/internal/shared.ts": "import \"ioredis\"",
        "src/adapter/IoRedis.ts": "import \"./internal/shared.ts\"",
        "src/adapter/Anthropic.ts": "import \"./internal/shared.ts\""
      },
      /shared\.ts imports ioredis: only src\/adapter\/IoRedis\.ts may/
    )
    bites(
      { "src/adapter/OpenAi.ts": "import \"openai\"", "src/testing/Recording.ts": "import \"../adapter/OpenAi.ts\"" },
      /OpenAi\.ts imports openai: only src\/adapter\/OpenAi\.ts may/
    )
    bites(
      { "src/adapter/OpenAi.ts": "", "src/testing/Recording.ts": "const load = () => import(\"openai\")" },
      /Recording\.ts imports openai: only src\/adapter\/OpenAi\.ts may/
    )
  })

  it("fails on a test runner in the testing kit, but for the module of its matchers", () => {
    bites({
      "src/testing/internal/verdicts.ts": "import \"vitest\"",
      "src/testing/TestModel.ts": "import \"./internal/verdicts.ts\""
    }, /verdicts\.ts imports vitest: only src\/testing\/Vitest\.ts may/)
    bites({
      "src/testing/index.ts": "export * from \"./Vitest.ts\"",
      "src/testing/Vitest.ts": "import type { M } from \"vitest\""
    }, /Vitest\.ts imports vitest: only src\/testing\/Vitest\.ts may/)
    bites({ "src/testing/TestModel.ts": "import \"openai\"" }, /only src\/adapter\/OpenAi\.ts may/)
    bites({ "src/cli/main.ts": "import type { M } from \"vitest\"" }, /only src\/testing\/Vitest\.ts may/)
  })

  it("fails on adapters that import each other", () => {
    bites({ "src/adapter/A.ts": "import \"./B.ts\"", "src/adapter/B.ts": "" }, /adapters do not import each other/)
  })

  it("fails on an adapter behind the main entry point", () => {
    bites({ "src/index.ts": "export * from \"./adapter/A.ts\"", "src/adapter/A.ts": "" }, /floors 1 to 3/)
  })

  it("fails on Effect's barrels", () => {
    bites({ "src/domain/A.ts": "import { Effect } from \"effect\"" }, /per module/)
    bites({ "src/domain/A.ts": "import { Tool } from \"effect/ai\"" }, /per module/)
    bites({ "src/domain/A.ts": "import * as Tool from \"effect/ai/Tool\"" })
  })

  it("fails on a file without a floor, a missing target, a source it cannot read", () => {
    bites({ "src/extra/A.ts": "" }, /stands on no floor/)
    bites({ "src/domain/A.ts": "import \"./B.ts\"" }, /there is no src\/domain\/B\.ts/)
    bites({ "src/domain/A.ts": "import {" }, /unreadable/)
  })
})
