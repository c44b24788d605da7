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

/** After a link within the page, begin at the top of the new view, also for who hears it. Going back is the browser's. */
function useFocusOnNewPage(main: React.RefObject<HTMLElement | null>): void {
  const [path] = useLocation()
  const shown = useRef(path)
  const wentBack = useRef(false)
  useEffect(() => {
    const note = () => (wentBack.current = true)
    window.addEventListener('popstate', note)
    return () => window.removeEventListener('popstate', note)
  }, [])
  useEffect(() => {
    if (shown.current === path) return
    shown.current = path
    if (!wentBack.current) {
      window.scrollTo(0, 0)
      main.current?.focus({ preventScroll: true })
    }
    wentBack.current = false
  }, [path, main])
}
