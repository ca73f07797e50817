/**
 * One client process of the Redis scenario: `node redisClient.ts SIDE PORT`. It keeps `inFlight` admissions going, says
 * "ready" once it is connected and warm, and when told to go on prints how many it did a second.
 */
import { createInterface } from "node:readline"
import { inFlight, measureMillis, type Side, warmUpMillis } from "./redisClients.ts"

const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

const load = async (side: string, port: number): Promise<Side> => {
  switch (side) {
    case "ours":
      return (await import("./sides/redisAdmissions.ts")).ours(port)
    case "ours-permit":
      return (await import("./sides/redisAdmissions.ts")).oursPermit(port)
    case "rate-limiter-flexible":
      return (await import("./peers/admissions.ts")).flexibleOnRedis(port)
    default:
      throw new Error(`no side "${side}"`)
  }
}

const [name = "", port = ""] = process.argv.slice(2)
const side = await load(name, Number(port))
const input = createInterface({ input: process.stdin })
const go = new Promise<void>((resolve) => input.once("line", () => resolve()))
// A parent that is gone must not leave clients behind.
input.once("close", () => process.exit(1))

let count = 0
const stop = side.run(inFlight, () => void count++)
await sleep(warmUpMillis)
console.log("ready")
await go
const [first, started] = [count, performance.now()]
await sleep(measureMillis)
const perSecond = ((count - first) * 1000) / (performance.now() - started)
await stop()
console.log(JSON.stringify(perSecond))
process.exit(0)
