import { statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from './system'
import { card, comment, comments, visit } from './views'

/** The largest size of a screenshot, in bytes: people read the README on slow networks too. */
const most = 250_000

interface Sample {
  title: string
  body: string
  comments?: { author?: string; content: string }[]
}

const samples: Sample[] = [
  {
    title: 'Hello, Postbus',
    body: 'A blog of posts and comments, made of small services that send each other events. Write something: it is an event the moment you press the button.',
    comments: [{ author: 'Mara', content: 'First! And it appeared in both of my windows.' }],
  },
  {
    title: 'A topic for each kind of event',
    body: 'One topic for everything looks simple until somebody wants only a part of it. With a topic for each kind, a subscription in YAML says who gets what, and the code does not mention it.',
    comments: [
      { author: 'Jonas', content: 'We began with one topic and a switch statement of four hundred lines.' },
      { author: 'Lin', content: 'And scopes then keep the wrong publisher out. I like that this is not in the code.' },
    ],
  },
  {
    title: 'Restarting query, as a hobby',
    body: 'The read model lives in memory. It begins with a snapshot, reads the rest of the log from there, and says that it is ready when it has caught up. I have killed it eleven times this morning and nobody noticed.',
    comments: [{ author: 'Priya', content: 'I noticed. For about a second the dot up there was red, and then nothing was missing.' }],
  },
  {
    title: 'Small Go services, read top to bottom',
    body: 'One main.go, one handler a route, one store. If a service needs a map of itself to be understood, it has become two services.',
    comments: [
      { author: 'Ada', content: 'The standard library carries you further than one thinks.' },
      { author: 'Tomás', content: 'synctest made our timing tests honest. Highly recommended.' },
      { content: 'How small is small?' },
    ],
  },
  {
    title: 'At least once is a promise you can build on',
    body: 'Exactly once, across a network, is a thing that one cannot have. At least once is easy: try again until somebody says yes.\n\nWhat is left is to make the second time harmless. An entity carries a revision and the highest one wins; an event has an id, and who has seen it does nothing. Then a redelivery is boring, and boring is what we want at three in the morning.',
    comments: [
      { author: 'Mara', content: 'The trick with the derived id is lovely: the answer to comment X always has the same id, so a reply that is sent twice is sent once.' },
      { author: 'Peel', content: 'You should all buy my orange squeezer instead.' },
      { author: 'Jonas', content: 'We put “the second time is harmless” on the wall of our office.' },
      { author: 'Lin', content: 'Does the order matter to you, then? Ours came in as it liked.' },
      { author: 'Ada', content: 'It does not. A comment that is there before its post waits, unseen, until the post comes.' },
    ],
  },
  {
    title: 'The log is the truth, the bus makes it fast',
    body: 'A message on the bus may arrive twice, or not at all. So query does not believe the bus: a message only wakes it up, and then it reads the numbered log from its last position. What it shows is what the log says.',
    comments: [
      { author: 'Priya', content: 'This is the sentence that made event sourcing click for me.' },
      { author: 'Sam', content: 'And if no message arrives? I suppose it polls the log now and then.' },
    ],
  },
]

test('the README’s screenshots', async ({ page, visitor, api }) => {
  const to = process.env.OUT
  if (to === undefined) throw new Error('OUT is not set; run `make screenshots`')
  for (const sample of samples) {
    const { id } = await api.post({ title: sample.title, body: sample.body })
    for (const sent of sample.comments ?? []) await api.moderated(id, sent)
  }
  const discussed = 'At least once is a promise you can build on'

  await visit(page, '/')
  await expect(card(page, discussed)).toContainText('5 comments')
  await page.evaluate(() => document.fonts.ready)
  await page.screenshot({ path: join(to, 'light.png') })

  const dark = await visitor({ viewport: { width: 1280, height: 800 }, colorScheme: 'dark' })
  await visit(dark, '/')
  await dark.getByRole('link', { name: discussed }).click()
  await expect(comments(dark)).toHaveCount(5)
  await dark.evaluate(() => document.fonts.ready)
  await dark.screenshot({ path: join(to, 'dark.png') })

  const phone = await visitor({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: 'light' })
  await visit(phone, '/')
  await phone.getByRole('link', { name: discussed }).click()
  await expect(comment(phone, 'This comment has been rejected')).toHaveCount(1)
  await phone.evaluate(() => document.fonts.ready)
  await phone.screenshot({ path: join(to, 'phone.png') })

  for (const name of ['light.png', 'dark.png', 'phone.png']) expect(statSync(join(to, name)).size).toBeLessThan(most)
})
