import { expect, test, vi } from 'vitest'
import type { Comment } from '../api/types'
import { isOwnComment, withheldFrom } from './usePost'

vi.mock('../write/own', () => ({ isOwn: (id: string) => id.startsWith('own'), receiptOf: () => '' }))

const guest = { may: [], signIn: true }
const mo = { ...guest, subject: 'a1' }
const ids = (comments: Comment[]) => comments.map(({ id }) => id)

const comments: Comment[] = [
  { id: 'own1', status: 'pending' },
  { id: 'own2', status: 'approved' },
  { id: 'other1', status: 'pending' },
  { id: 'other2', status: 'held' },
  { id: 'other3', status: 'approved' },
]

test('a guest may see more of what this tab wrote', () => {
  expect(ids(withheldFrom(comments, guest))).toEqual(['own1'])
})

test('a person may see more of the newest that were decided on', () => {
  expect(ids(withheldFrom(comments, mo))).toEqual(['own1', 'other2'])
  const many = Array.from({ length: 30 }, (_, n): Comment => ({ id: `other${n}`, status: 'rejected' }))
  expect(withheldFrom(many, mo)).toEqual(many.slice(0, 20))
})

test('the pseudonym counts more than what this tab remembers', () => {
  expect(isOwnComment({ id: 'own1', status: 'approved', authorId: 'b2' }, mo)).toBe(false)
  expect(isOwnComment({ id: 'other1', status: 'approved', authorId: 'a1' }, mo)).toBe(true)
  expect(isOwnComment({ id: 'own1', status: 'approved' }, mo)).toBe(true)
  expect(isOwnComment({ id: 'own1', status: 'approved', authorId: 'b2' }, guest)).toBe(true)
})
