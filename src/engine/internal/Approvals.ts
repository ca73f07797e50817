/**
 * Approvals found in a prompt, as data: which calls were approved or denied and not yet answered, and which requests nobody
 * has answered. Follows `collectToolApprovals` of effect/ai's `LanguageModel` (not exported there), but for one thing: two
 * answers to one request count once, the first wins.
 */
import type * as Prompt from "effect/ai/Prompt"

export interface Resolved {
  readonly call: Prompt.ToolCallPart
  readonly approved: boolean
  readonly reason: string | undefined
}

export interface Approvals {
  readonly resolved: ReadonlyArray<Resolved>
  readonly unanswered: ReadonlyArray<{ readonly approvalId: string; readonly call: Prompt.ToolCallPart }>
}

export const collect = (prompt: Prompt.Prompt): Approvals => {
  const calls = new Map<string, Prompt.ToolCallPart>()
  const requests = new Map<string, string>()
  const answers = new Map<string, Prompt.ToolApprovalResponsePart>()
  const finished = new Set<string>()
  for (const message of prompt.content) {
    if (message.role !== "assistant" && message.role !== "tool") continue
    for (const part of message.content) {
      if (part.type === "tool-call") calls.set(part.id, part)
      else if (part.type === "tool-approval-request") requests.set(part.approvalId, part.toolCallId)
      else if (part.type === "tool-approval-response" && !answers.has(part.approvalId)) {
        answers.set(part.approvalId, part)
      } else if (part.type === "tool-result") finished.add(part.id)
    }
  }
  const resolved: Array<Resolved> = []
  const unanswered: Array<{ approvalId: string; call: Prompt.ToolCallPart }> = []
  for (const [approvalId, callId] of requests) {
    const call = calls.get(callId)
    if (call === undefined || finished.has(callId)) continue
    finished.add(callId)
    const answer = answers.get(approvalId)
    if (answer === undefined) unanswered.push({ approvalId, call })
    else resolved.push({ call, approved: answer.approved, reason: answer.reason })
  }
  return { resolved, unanswered }
}

/** What the model sees for a denied call. The same data as stock effect/ai's. */
export const denial = (reason: string | undefined) =>
  reason === undefined ? { type: "execution-denied" } : { type: "execution-denied", reason }
