import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useEffect, useMemo, useState } from 'react'
import type { Problem } from '../api/problem'
import { keys } from '../live/keys'
import { announce } from '../ui/announce'
import { keep, recall } from '../write/storage'
import { readPolicy, savePolicy, type Versioned } from './api'
import { afterSave, draftOf, isEdits, mistakesIn, rulesOf, withoutPlace, type Draft, type Edits } from './draft'

/** The policy that stands, and edits of it. The edits are kept through a reload, and until they are saved or discarded. */
export function usePolicy() {
  const client = useQueryClient()
  const query = useQuery({ queryKey: keys.policy, queryFn: ({ signal }) => readPolicy(signal), staleTime: 0 })
  const [edits, setEdits] = useState<Edits | undefined>(recallEdits)
  useEffect(() => keepEdits(edits), [edits])
  const [isSubmitted, setSubmitted] = useState(false)
  const saving = useMutation<Versioned, Problem, Edits>({
    mutationFn: ({ draft, etag }) => savePolicy({ rules: rulesOf(draft), etag }),
    onSuccess: (saved, sent) => {
      client.setQueryData<Versioned>(keys.policy, saved)
      setEdits((now) => afterSave(now, sent, saved.etag))
      // An unmounted form has no state. Its stored edits must still lose what was saved.
      keepEdits(afterSave(recallEdits(), sent, saved.etag))
      setSubmitted(false)
      announce(`The policy is saved: version ${versionOf(saved.etag)}.`)
    },
    onError: (problem) => {
      if (problem.status === 412) void query.refetch()
    },
  })
  const stands = query.data
  const standing = useMemo(() => stands && draftOf(stands.rules), [stands])
  const draft = edits?.draft ?? standing
  const mistakes = draft === undefined || !isSubmitted ? new Map<string, string>() : mistakesOf(draft, saving.error)
  return {
    query,
    draft,
    stands,
    mistakes,
    saving,
    isEdited: edits !== undefined,
    /** The policy was changed since the edits began. */
    isConflict: edits !== undefined && stands !== undefined && edits.etag !== stands.etag,
    edit: (next: Draft) => {
      if (!saving.isPending) saving.reset()
      setEdits({ draft: next, etag: edits?.etag ?? stands?.etag ?? '' })
    },
    discard: () => {
      saving.reset()
      setSubmitted(false)
      setEdits(undefined)
    },
    /** Saves the edits, also over a version that is newer than they are, if the moderator has seen that one. */
    save: (over?: string) => {
      setSubmitted(true)
      if (edits === undefined || saving.isPending || mistakesIn(edits.draft).size > 0) return
      const sent = { ...edits, etag: over ?? edits.etag }
      setEdits(sent)
      saving.mutate(sent)
    },
  }
}

function recallEdits(): Edits | undefined {
  return recall('sessionStorage', 'policy', isEdits)
}

function keepEdits(edits: Edits | undefined): void {
  keep('sessionStorage', 'policy', edits)
}

/** The mistakes that are found here, and the one that moderation has found. */
function mistakesOf(draft: Draft, problem: Problem | null): Map<string, string> {
  const mistakes = mistakesIn(draft)
  if (problem?.field !== undefined && !mistakes.has(problem.field)) mistakes.set(problem.field, withoutPlace(problem.detail, problem.field))
  return mistakes
}

/** The version in an ETag. */
export function versionOf(etag: string): string {
  return etag.replaceAll('"', '')
}
