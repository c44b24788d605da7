/** What a key does in the queue. */
export type Shortcut = 'next' | 'previous' | 'approve' | 'reject' | 'hold' | 'undo' | 'help'

/** The keys of each, and what it does in words. */
export const shortcuts: { shortcut: Shortcut; keys: string[]; does: string }[] = [
  { shortcut: 'next', keys: ['j', 'ArrowDown'], does: 'Next comment' },
  { shortcut: 'previous', keys: ['k', 'ArrowUp'], does: 'Previous comment' },
  { shortcut: 'approve', keys: ['a'], does: 'Approve the comment that has the focus' },
  { shortcut: 'reject', keys: ['r'], does: 'Reject it' },
  { shortcut: 'hold', keys: ['h'], does: 'Hold it' },
  { shortcut: 'undo', keys: ['u'], does: 'Undo the last decision' },
  { shortcut: 'help', keys: ['?'], does: 'Show or hide these keys' },
]

/** The parts of a key press that matter. */
type Press = Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'repeat' | 'isComposing' | 'defaultPrevented'>

/** What a key press asks for. With a modifier it is the browser's, and while somebody types it is text. */
export function shortcutOf(press: Press, isTyping: boolean): Shortcut | undefined {
  if (isTyping || press.ctrlKey || press.metaKey || press.altKey || press.isComposing || press.defaultPrevented) return undefined
  const shortcut = shortcuts.find(({ keys }) => keys.includes(press.key))?.shortcut
  const isMove = shortcut === 'next' || shortcut === 'previous'
  // A key that is held down decides once.
  return press.repeat && !isMove ? undefined : shortcut
}

/** Whether keys are text, or the control's own, where they are pressed. */
export function isTypingIn(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.closest('input, textarea, select') !== null)
}

/** The comment to move to. Without a focused one it is the first, or the last. */
export function moved(ids: string[], from: string | undefined, by: 1 | -1): string | undefined {
  const at = from === undefined ? -1 : ids.indexOf(from)
  if (at < 0) return by > 0 ? ids[0] : ids.at(-1)
  return ids[Math.min(Math.max(at + by, 0), ids.length - 1)]
}
