/**
 * One process, one measurement: `node child.ts SCENARIO PEER N` prints its readings as one line of JSON. The parent
 * starts one for every repetition, so nothing is warm, loaded or leaked from another peer.
 */
import { findScenario } from "./scenarios/index.ts"

const [name = "", peer = "", n = ""] = process.argv.slice(2)
const measure = findScenario(name)?.peers[peer]
if (measure === undefined) throw new Error(`no scenario "${name}" with a peer "${peer}"`)
console.log(JSON.stringify(await measure(Number(n))))
