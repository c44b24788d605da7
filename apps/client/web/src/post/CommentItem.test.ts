import { createElement } from 'react'
import { renderToStaticMarkup } from 'react-dom/server'
import { describe, expect, test, vi } from 'vitest'
import { CommentItem } from './CommentItem'

vi.mock('../ui/Ago', () => ({ Ago: () => null })) // it needs a browser's clock

/** A comment as a visitor sees it. */
const seen = (status: string, own: boolean) => {
  const comment = { id: '1', content: 'The text.', author: 'Ann', reason: 'a word', status, createdAt: '2026-11-24T09:01:00Z' }
  return renderToStaticMarkup(createElement(CommentItem, { comment, own }))
}

test('one’s own comment that can’t be read now has no name', () => {
  const html = renderToStaticMarkup(createElement(CommentItem, { comment: { id: '1', status: 'held' }, own: true }))
  expect(html).toContain('awaiting moderation')
  expect(html).not.toContain('Anonymous')
})

test.each([
  [{ author: 'Ann' }, true],
  [{ author: 'Ann', authorId: 'a1' }, false],
  [{}, false],
])('of %j it says whether a guest chose the name', (by, isGuest) => {
  const comment = { id: '1', content: 'The text.', status: 'approved', createdAt: '2026-11-24T09:01:00Z', ...by }
  expect(renderToStaticMarkup(createElement(CommentItem, { comment, own: false })).includes('>guest<')).toBe(isGuest)
})

describe('a comment', () => {
  test.each([
    ['approved', false, ['Ann', 'The text.'], ['a word', 'awaiting', 'rejected']],
    ['approved', true, ['Ann', 'The text.', 'you'], ['a word', 'awaiting', 'rejected']],
    ['pending', false, ['awaiting moderation'], ['Ann', 'The text.', 'a word']],
    ['pending', true, ['Ann', 'The text.', 'awaiting moderation', 'you'], ['rejected']],
    ['rejected', false, ['has been rejected'], ['Ann', 'The text.', 'a word']],
    ['rejected', true, ['Ann', 'has been rejected', 'a word', 'The text.'], ['awaiting']],
    ['held', false, ['awaiting moderation'], ['Ann', 'The text.', 'a word', 'rejected']],
    ['held', true, ['Ann', 'The text.', 'awaiting moderation', 'a word', 'you'], ['rejected']],
    // A newer version may have others.
    ['quarantined', false, ['awaiting moderation'], ['Ann', 'The text.', 'a word', 'rejected']],
  ])('that is %s, own %s, shows %j and not %j', (status, own, shown, hidden) => {
    const html = seen(status, own)
    for (const text of shown) expect(html).toContain(text)
    for (const text of hidden) expect(html.replace(`data-status="${status}"`, '')).not.toContain(text)
  })
})
