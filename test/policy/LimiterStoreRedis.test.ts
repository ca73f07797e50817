/** The contract of every store, on real Redis. What only Redis can do wrong is in `LimiterStoreRedisNumbers.test.ts` and its neighbours. */
import { describe, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as IoRedis from "../../src/adapter/IoRedis.ts"
import { describeRedis, redisCluster, redisServer } from "../redis.ts"
import { redisStore } from "./redisStore.ts"
import { storeContract } from "./storeContract.ts"

class Place extends Context.Service<Place, IoRedis.Options>()("test/Place") {}

const server = Layer.effect(Place, Effect.map(redisServer(), ({ url }) => ({ url })))
const cluster = Layer.effect(Place, Effect.map(redisCluster(), ({ nodes }) => ({ cluster: nodes })))

const contractOn = (name: string, place: Layer.Layer<Place>): void =>
  describeRedis(`LimiterStoreRedis on ${name}`, () => {
    // Every test has a limiter of its own, and most only wait.
    describe.concurrent("all at once", () => {
      layer(place, { excludeTestServices: true })((it) => {
        let options: IoRedis.Options = {}
        storeContract(name, {
          it: (promise, test) =>
            it.effect(promise, () => Effect.flatMap(Place, (found) => (options = found, test())), 60_000),
          open: Effect.suspend(() => Effect.map(redisStore(options), ({ store }) => store)),
          pass: (millis) => Effect.sleep(millis)
        })
      })
    })
  })

contractOn("one server", server)
contractOn("a cluster of three", cluster)
