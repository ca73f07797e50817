/**
 * A dry run as a small table.
 */
import type { Request } from "./request.ts"

interface Row {
  readonly request: Request
  readonly startMillis: number
  readonly waitsFor: string | undefined
}

/** One line for each request: its number, what it is, when it starts, and what it waits for until then. */
export const formatForecast = (rows: ReadonlyArray<Row>): string => {
  const table = [
    ["#", "request", "starts", "waits for"],
    ...rows.map((row, index) => [
      String(index + 1),
      describe(row.request),
      startText(row.startMillis),
      row.waitsFor === undefined ? "-" : plain(row.waitsFor)
    ])
  ]
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((cells) => cells[column]!.length)))
  return table.map((cells) =>
    cells.map((cell, column) => column === 0 ? cell.padStart(widths[0]!) : cell.padEnd(widths[column] ?? 0))
      .join("  ").trimEnd()
  ).join("\n")
}

const describe = ({ calls = 1, service, tenant, tokens }: Request): string => {
  const parts = [service === undefined ? "any" : plain(service)]
  if (tenant !== undefined) parts.push(`for ${plain(tenant)}`)
  if (calls !== 1) parts.push(`${calls} calls`)
  if (tokens !== undefined) parts.push(`${tokens} tokens`)
  return parts.join(", ")
}

/** A moment, from now on. */
export const startText = (millis: number): string => {
  if (millis <= 0) return "now"
  if (millis === Number.POSITIVE_INFINITY) return "unknown"
  if (millis <= 999) return `+${Math.ceil(millis)} ms`
  const tenths = Math.ceil(millis / 100)
  if (tenths < 600) return `+${tenths / 10} s`
  const seconds = Math.ceil(millis / 1000)
  if (seconds < 3600) return `+${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `+${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`
}

// Names may be any text: one line, and not too long.
const plain = (text: string): string => {
  const line = JSON.stringify(text.toWellFormed()).slice(1, -1).replaceAll("\\\"", "\"")
  return line.length > 60 ? `${line.slice(0, 57)}...` : line
}
