import { afterEach, expect, test, vi } from 'vitest'
import { after, isMine, may, readMe, signInPath, unknown, type Me } from './me'

const guest: Me = { may: ['comment'], signIn: true }
const mo: Me = { name: 'Mo', subject: 'a1', may: ['comment', 'moderate'], signIn: true }

afterEach(() => vi.unstubAllGlobals())

test('readMe asks past every cache', async () => {
  const fetched = vi.fn<typeof fetch>().mockResolvedValue(Response.json(mo))
  vi.stubGlobal('fetch', fetched)
  expect(await readMe(undefined, new AbortController().signal)).toEqual(mo)
  expect(fetched.mock.calls[0]).toMatchObject(['/me', { cache: 'no-store' }])
})

test.each<[string, Me | undefined, Me, boolean]>([
  ['a guest', undefined, guest, false],
  ['a guest who stays one', guest, guest, false],
  ['a person', guest, mo, false],
  ['a person who is a guest now', mo, guest, true],
  ['a person who still is a guest', { ...guest, ended: true }, guest, true],
  ['a session that ended before the page was loaded', undefined, { ...guest, ended: true }, true],
  ['a person who signed in again', { ...guest, ended: true }, mo, false],
])('the session of %s', (_, before, me, ended) => {
  expect(after(before, me).ended ?? false).toBe(ended)
})

test('without an answer one may try to write, and can’t sign in', () => {
  expect([may(unknown, 'post'), may(unknown, 'comment'), may(unknown, 'moderate'), unknown.signIn]).toEqual([true, true, false, false])
})

test('the pseudonym says whose something is', () => {
  expect([isMine('a1', mo), isMine('b2', mo), isMine(undefined, mo), isMine('a1', guest)]).toEqual([true, false, undefined, undefined])
})

test('signing in leads back', () => {
  expect(signInPath('/p/1?a=b&c=d')).toBe('/auth/sign-in?return=%2Fp%2F1%3Fa%3Db%26c%3Dd')
})
