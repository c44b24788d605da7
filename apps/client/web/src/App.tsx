import { useEffect, useRef } from 'react'
import { Link, Route, Switch, useLocation } from 'wouter'
import { FeedPage } from './feed/FeedPage'
import { PostPage } from './post/PostPage'
import { Announcer } from './ui/announce'
import { Header } from './ui/Header'

export function App() {
  const main = useRef<HTMLElement>(null)
  useFocusOnNewPage(main)
  return (
    <>
      <a className="skip" href="#content">
        Skip to content
      </a>
      <Header />
      <main id="content" ref={main} tabIndex={-1}>
        <Switch>
          <Route path="/" component={FeedPage} />
          <Route path="/p/:id">{({ id }) => <PostPage key={id} id={id} />}</Route>
          <Route>
            <h1>There is nothing here</h1>
            <p>
              <Link href="/">All posts</Link>
            </p>
          </Route>
        </Switch>
      </main>
      <Announcer />
    </>
  )
}

/** The link by which a page was left, and where in the window it stood, in pixels. */
interface Exit {
  href: string
  top: number
}

/**
 * After a link within the page, begin at the top of the new view, also for who
 * hears it; after going back, at the link by which one left. The browser's own
 * memory is of pixels, and what is far outside the window has no certain height.
 */
function useFocusOnNewPage(main: React.RefObject<HTMLElement | null>): void {
  const [path] = useLocation()
  const shown = useRef(path)
  const wentBack = useRef(false)
  const exits = useRef(new Map<string, Exit>())
  useEffect(() => {
    const noteBack = () => (wentBack.current = true)
    const noteExit = ({ target }: MouseEvent) => {
      const link = target instanceof Element && target.closest('main a')
      if (link) exits.current.set(shown.current, { href: link.getAttribute('href') ?? '', top: link.getBoundingClientRect().top })
    }
    // Captured, because the router hears it too, and renders at once.
    window.addEventListener('popstate', noteBack, true)
    window.addEventListener('click', noteExit, true)
    return () => {
      window.removeEventListener('popstate', noteBack, true)
      window.removeEventListener('click', noteExit, true)
    }
  }, [])
  useEffect(() => {
    if (shown.current === path) return
    shown.current = path
    const exit = wentBack.current ? exits.current.get(path) : undefined
    const link = exit && main.current?.querySelector<HTMLElement>(`a[href="${CSS.escape(exit.href)}"]`)
    if (exit && link) {
      window.scrollBy(0, link.getBoundingClientRect().top - exit.top)
      link.focus({ preventScroll: true })
    } else if (!wentBack.current) {
      window.scrollTo(0, 0)
      main.current?.focus({ preventScroll: true })
    }
    wentBack.current = false
  }, [path, main])
}
