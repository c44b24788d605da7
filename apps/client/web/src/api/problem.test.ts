import { describe, expect, test } from 'vitest'
import { noAnswer, Problem, problemOf, readAgainAfter } from './problem'

describe('problemOf', () => {
  test('reads a problem document', () => {
    const problem = problemOf(422, '{"type":"about:blank","detail":"title must not be empty","field":"title"}', null)
    expect(problem).toMatchObject({ status: 422, detail: 'Title must not be empty.', field: 'title', retryAfter: undefined })
    expect(problem.message).toBe('Title must not be empty.')
  })

  test('reads what stands instead', () => {
    expect(problemOf(403, '{"detail":"no"}', null)).toMatchObject({ stands: undefined })
    expect(problemOf(409, '{"detail":"no","stands":{"id":"1"}}', null)).toMatchObject({ stands: { id: '1' } })
  })

  test.each([
    ['30', 'Too much at once. Try again in 30 s.'],
    [null, 'Too much at once. Try again later.'],
  ])('says when to come back after too much, with Retry-After: %s', (header, said) => {
    expect(problemOf(429, '{"detail":"60 in 1m0s are allowed here"}', header).detail).toBe(said)
  })

  test.each([
    ['nothing', ''],
    ['HTML', '<h1>502 Bad Gateway</h1>'],
    ['JSON of another kind', '["detail"]'],
    ['null', 'null'],
    ['a detail that is no text', '{"detail":7,"field":{}}'],
    ['an empty detail', '{"detail":""}'],
  ])('says the status alone when the answer is %s', (_, body) => {
    expect(problemOf(502, body, null)).toMatchObject({ status: 502, detail: 'The server answered 502.', field: undefined })
  })

  test.each([
    ['ends here', 'Ends here.'],
    ['Ends here.', 'Ends here.'],
    ['does it end?', 'Does it end?'],
    ['it ends!', 'It ends!'],
    ['It is not known whether this happened. Repeat the request with the same Idempotency-Key.', 'It is not known whether this happened.'],
    ['Nothing happened; repeat the request with the same Idempotency-Key.', 'Nothing happened.'],
  ])('makes %j a sentence', (detail, sentence) => {
    expect(problemOf(400, JSON.stringify({ detail }), null).detail).toBe(sentence)
  })

  test.each([
    ['2', 2_000],
    ['0', 0],
    [null, undefined],
    ['Tue, 24 Nov 2026 10:00:00 GMT', undefined],
    ['-1', undefined],
  ])('waits after Retry-After: %s', (header, milliseconds) => {
    expect(problemOf(503, '', header).retryAfter).toBe(milliseconds)
  })
})

test.each([
  [0, true],
  [400, false],
  [404, false],
  [408, true],
  [409, true],
  [413, false],
  [422, false],
  [429, true],
  [499, false],
  [500, true],
  [503, true],
])('after a %d it may yet succeed: %s', (status, transient) => {
  expect(new Problem(status, '').transient).toBe(transient)
})

test('noAnswer keeps a problem and makes one of anything else', () => {
  const problem = new Problem(404, 'Gone.')
  expect(noAnswer(problem)).toBe(problem)
  expect(noAnswer(new TypeError('Failed to fetch'))).toMatchObject({ status: 0, detail: 'There was no answer.', transient: true })
})

test.each([
  ['a problem without Retry-After', new Problem(503, ''), 1_500],
  ['a problem with a short one', new Problem(503, '', { retryAfter: 1_000 }), 1_500],
  ['a problem with a long one', new Problem(429, '', { retryAfter: 30_000 }), 30_000],
  ['anything else', new TypeError('Failed to fetch'), 1_500],
])('a read is retried after %s', (_, cause, delay) => {
  expect(readAgainAfter(cause)).toBe(delay)
})
