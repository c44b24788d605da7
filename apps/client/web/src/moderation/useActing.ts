import type { RefObject } from 'react'
import { announce } from '../ui/announce'
import { mistakeIn } from '../write/limits'
import { useDraft } from '../write/useDraft'
import type { ModeratedComment } from './api'
import { nextOf, outcomes, type QueueStatus } from './queue'
import { moved, type Shortcut } from './shortcuts'
import { useDecisions, type Act } from './useDecisions'
import { useShortcuts } from './useShortcuts'

/** Where the comments are shown: in the element, each with data-comment. */
interface Shown {
  element: RefObject<HTMLElement | null>
  status: QueueStatus
  comments: ModeratedComment[]
  /** Takes a newer version of a comment. */
  take: (comment: ModeratedComment) => void
}

/** What a moderator does with the comments of a list, by buttons and by keys. After a decision the next comment has the focus. */
export function useActing({ element, status, comments, take }: Shown, isOn: boolean, onHelp: () => void) {
  const { draft: reasons, change, forget } = useDraft('reasons')
  const decisions = useDecisions(take, forget)
  const reasonOf = (id: string) => reasons[id] ?? ''

  const focus = (id: string | undefined) => element.current?.querySelector<HTMLElement>(id === undefined ? 'h2' : `[data-comment="${id}"]`)?.focus()
  const act = (what: Act, comment: ModeratedComment) => {
    const reason = reasonOf(comment.id)
    const isOpen = comment.status === status
    if (what !== 'undo' && (!isOpen || outcomes[what] === status || mistakeIn('reason', reason) !== undefined)) return
    const next = what === 'undo' ? comment.id : nextOf(comments, comment.id, status)
    if (decisions.start(what, comment, reason)) focus(next)
  }
  const actOn = (what: Act, id: string | undefined) => {
    const comment = comments.find((one) => one.id === id)
    if (comment) act(what, comment)
    else if (what === 'undo') announce('There is nothing to undo.')
    else focus(comments.find((one) => one.status === status)?.id)
  }
  const move = (from: string | undefined, by: 1 | -1) => {
    const stops = comments.filter((one) => one.status === status || one.id === from)
    focus(moved(stops.map(({ id }) => id), from, by))
  }
  const onShortcut = (shortcut: Shortcut, at: string | undefined) => {
    if (shortcut === 'help') onHelp()
    else if (shortcut === 'next') move(at, 1)
    else if (shortcut === 'previous') move(at, -1)
    else actOn(shortcut, shortcut === 'undo' ? decisions.last : at)
  }
  useShortcuts(isOn, (shortcut, key) => {
    const at = document.activeElement?.closest<HTMLElement>('[data-comment]')?.dataset.comment
    // Without a comment that has the focus, the arrows scroll.
    if (key.startsWith('Arrow') && at === undefined) return false
    onShortcut(shortcut, at)
    return true
  })
  return { marks: decisions.marks, act, reasonOf, setReason: (id: string, reason: string) => change({ [id]: reason }) }
}
