import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src", import.meta.url))

export default defineConfig({
  resolve: {
    // The package under its own name, as examples in docstrings write it, from the sources.
    alias: [
      { find: /^effect-toolformer$/, replacement: `${src}/index.ts` },
      { find: /^effect-toolformer\/Testing$/, replacement: `${src}/testing/index.ts` },
      { find: /^effect-toolformer\/Vitest$/, replacement: `${src}/testing/Vitest.ts` },
      { find: /^effect-toolformer\/LimiterStoreRedis$/, replacement: `${src}/policy/LimiterStoreRedis.ts` },
      { find: /^effect-toolformer\/(\w+)$/, replacement: `${src}/adapter/$1.ts` }
    ]
  },
  test: {
    environment: "node",
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "test/bench/peers/**"],
    globalSetup: ["test/globalSetup.ts"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000
  }
})
